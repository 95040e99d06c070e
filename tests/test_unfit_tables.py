"""Foreign and damaged files among the results: a line in their place, and the rest as always."""

import pandas as pd
import pytest

from analysis import __main__ as studies
from analysis import claims, store
from figures import FIGURES
from figures import __main__ as pictures
from figures import store as pictured

FOREIGN = {
    "text": b"order,measured,predicted\na,b,c\nd,e,f\n",
    "other columns": b"name,price\nbread,1\n",
    "not UTF-8": b"order\n\xff\xfe\n",
    "ragged": b"a,b\n1,2,3\n1,2,3,4,5\n",
    "empty": b"",
    "binary": bytes(range(256)) * 4,
}
TABLE, (SOURCE, STUDY) = next((n, home) for n, home in FIGURES.items() if home[1] == "depth")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of results in which nothing was run, as both packages see it."""
    for module in (store, pictured):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def put(folder, name, content, sidecar='{"provenance": {}, "settings": {}}'):
    (folder / f"{name}.csv").write_bytes(content)
    (folder / f"{name}.json").write_text(sidecar, encoding="utf-8")


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_claims_of_a_foreign_table_are_not_run_and_the_others_judged(results, capsys, content):
    put(results, "depth_orders", content)
    assert studies.main(["claims"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("analysis: depth_orders.csv ") and shown.err.count("\n") == 1
    assert shown.err.endswith("; make it again with: python -m analysis depth\n")
    assert "not run" in shown.out
    table = pd.read_csv(results / "claims.csv")
    assert len(table) == sum(len(group) for group in claims.GROUPS.values())


@pytest.mark.parametrize("sidecar", ["[1]", "{", '{"provenance": 3}', ""])
def test_claims_of_a_foreign_sidecar_are_not_run(results, capsys, sidecar):
    put(results, "depth_orders", b"order\n1\n", sidecar)
    assert studies.main(["claims"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis: depth_orders.json ") and error.count("\n") == 1


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_page_has_a_line_in_place_of_a_picture_of_a_foreign_table(results, capsys, content):
    claims.write(results)
    put(results, SOURCE, content)
    assert pictures.main(["report"]) == 2
    error = capsys.readouterr().err
    lines = error.splitlines()
    assert lines and all(line.startswith(f"figures: {SOURCE}.csv ") for line in lines)
    html = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert f"<li>{TABLE}: {SOURCE}.csv " in html and "their tables cannot be used" in html
    assert "Provenance" in html
    assert pictures.main([TABLE]) == 2
    assert capsys.readouterr().err.splitlines()[0] in lines


@pytest.mark.parametrize("settings", ['{"data_sets": 3}', '{"data_sets": [{}], "seeds": []}'])
def test_page_goes_without_data_sets_that_are_not_described(results, settings):
    claims.write(results)
    sidecar = '{"provenance": {}, "settings": ' + settings + "}"
    put(results, "theory_vs_simulation", b"a\n1\n", sidecar)
    assert pictures.main(["report"]) == 2
    html = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert "Data of the main study" not in html and "theory_vs_simulation.csv " in html


def test_verdicts_of_another_kind_are_named(results, capsys):
    table = claims.write(results)
    table.loc[0, "verdict"] = "perhaps"
    table.to_csv(results / "claims.csv", index=False)
    assert pictures.main(["report"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("figures: table claims has the verdict perhaps, not holds, ")
