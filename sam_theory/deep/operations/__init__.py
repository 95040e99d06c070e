"""What a layer computes, three times: plain array code, compiled for a CPU, and by cupy."""
