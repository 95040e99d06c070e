"""CUDA sources of the passes that array code would split, and their launches through cupy.

Each has its twin in :class:`sam_theory.deep.operations.arrays.ArrayOperations`. Sums are taken in a
fixed order: by the threads of a block over their own rows, then over the threads in turn.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

THREADS = 256
SUM_CHANNELS, SUM_ROWS = 32, 8

SOURCE = r"""
template <typename T> __device__ T act(T z, int kind, T beta) {
    if (kind == 1) return z <= T(0) ? T(0) : z;
    if (kind == 2) return (z > T(0) ? z : T(0)) + log1p(exp(-fabs(beta * z))) / beta;
    return z;
}

template <typename T> __device__ T act_slope(T z, int kind, T beta) {
    if (kind == 1) return z <= T(0) ? T(0) : T(1);
    if (kind == 2) return T(0.5) + T(0.5) * tanh(T(0.5) * beta * z);
    return T(1);
}

// One thread per number of the column matrix (n, out_height, out_width, kernel, kernel, channels).
template <typename T> __global__ void columns(
    const T* x, const T* scale, const T* shift, int affine, int kind, T beta, long long count,
    int height, int width, int channels, int kernel, int stride, int pad, int out_height,
    int out_width, T* out) {
    for (long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x; j < count;
         j += gridDim.x * (long long)blockDim.x) {
        long long rest = j;
        int c = rest % channels; rest /= channels;
        int kx = rest % kernel; rest /= kernel;
        int ky = rest % kernel; rest /= kernel;
        int ox = rest % out_width; rest /= out_width;
        int oy = rest % out_height; rest /= out_height;
        int y = oy * stride + ky - pad, z = ox * stride + kx - pad;
        T value = T(0);
        if (y >= 0 && y < height && z >= 0 && z < width) {
            value = x[((rest * height + y) * width + z) * channels + c];
            if (affine) value = value * scale[rest * channels + c] + shift[rest * channels + c];
            value = act(value, kind, beta);
        }
        out[j] = value;
    }
}

// One thread per number of the image; adds its appearances in the column matrix in order of taps.
template <typename T> __global__ void spread_columns(
    const T* columns, long long count, int height, int width, int channels, int kernel, int stride,
    int pad, int out_height, int out_width, int add, T* out) {
    for (long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x; j < count;
         j += gridDim.x * (long long)blockDim.x) {
        long long rest = j;
        int c = rest % channels; rest /= channels;
        int z = rest % width; rest /= width;
        int y = rest % height; rest /= height;
        T total = add ? out[j] : T(0);
        for (int ky = 0; ky < kernel; ++ky) {
            int a = y + pad - ky;
            if (a < 0 || a % stride || a / stride >= out_height) continue;
            for (int kx = 0; kx < kernel; ++kx) {
                int b = z + pad - kx;
                if (b < 0 || b % stride || b / stride >= out_width) continue;
                long long pixel = (rest * out_height + a / stride) * out_width + b / stride;
                total += columns[((pixel * kernel + ky) * kernel + kx) * channels + c];
            }
        }
        out[j] = total;
    }
}

// Blocks of 32 channels x 8 rows: sums over the pixels of one image of x or (x - centre)^2.
template <typename T> __global__ void image_sums(
    const T* x, const T* centre, int squares, int pixels, int channels, double* out) {
    __shared__ double part[8][32];
    int c = blockIdx.y * 32 + threadIdx.x;
    long long image = blockIdx.x;
    T total = T(0);
    if (c < channels) {
        T middle = squares ? centre[image * channels + c] : T(0);
        for (int q = threadIdx.y; q < pixels; q += 8) {
            T value = x[(image * pixels + q) * channels + c];
            total += squares ? (value - middle) * (value - middle) : value;
        }
    }
    part[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        double sum = 0;
        for (int k = 0; k < 8; ++k) sum += part[k][threadIdx.x];
        out[image * channels + c] = sum;
    }
}

// The same blocks: d becomes d act'(x scale + shift); its sums, and those of it times x - mean.
template <typename T> __global__ void slope_sums(
    T* d, const T* x, const T* mean, const T* scale, const T* shift, int kind, T beta, int pixels,
    int channels, double* plain, double* weighted) {
    __shared__ double part[2][8][32];
    int c = blockIdx.y * 32 + threadIdx.x;
    long long image = blockIdx.x;
    T first = T(0), second = T(0);
    if (c < channels) {
        long long at = image * channels + c;
        T middle = mean[at], a = scale[at], b = shift[at];
        for (int q = threadIdx.y; q < pixels; q += 8) {
            long long j = (image * pixels + q) * channels + c;
            T value = d[j] * act_slope(x[j] * a + b, kind, beta);
            d[j] = value;
            first += value;
            second += value * (x[j] - middle);
        }
    }
    part[0][threadIdx.y][threadIdx.x] = first;
    part[1][threadIdx.y][threadIdx.x] = second;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        double one = 0, two = 0;
        for (int k = 0; k < 8; ++k) {
            one += part[0][k][threadIdx.x];
            two += part[1][k][threadIdx.x];
        }
        plain[image * channels + c] = one;
        weighted[image * channels + c] = two;
    }
}

// d becomes scale d - (slope (x - mean) + level) [+ residual]; one thread per number.
template <typename T> __global__ void input_gradient(
    T* d, const T* x, const T* mean, const T* scale, const T* slope, const T* level,
    const T* residual, int add, long long count, int pixels, int channels) {
    for (long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x; j < count;
         j += gridDim.x * (long long)blockDim.x) {
        long long at = j / ((long long)pixels * channels) * channels + j % channels;
        T value = scale[at] * d[j] - (slope[at] * (x[j] - mean[at]) + level[at]);
        d[j] = add ? value + residual[j] : value;
    }
}

// act(x scale + shift) to out, or added to it.
template <typename T> __global__ void write_signal(
    const T* x, const T* scale, const T* shift, int affine, int kind, T beta, int add,
    long long count, int pixels, int channels, T* out) {
    for (long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x; j < count;
         j += gridDim.x * (long long)blockDim.x) {
        T value = x[j];
        if (affine) {
            long long at = j / ((long long)pixels * channels) * channels + j % channels;
            value = value * scale[at] + shift[at];
        }
        value = act(value, kind, beta);
        out[j] = add ? out[j] + value : value;
    }
}
"""
NAMES = (
    "columns",
    "spread_columns",
    "image_sums",
    "slope_sums",
    "input_gradient",
    "write_signal",
)
TYPES = {"float32": "float", "float64": "double"}


@functools.cache
def _module() -> Any:
    import cupy

    expressions = [f"{name}<{kind}>" for name in NAMES for kind in TYPES.values()]
    return cupy.RawModule(
        code=SOURCE, options=("--std=c++14",), name_expressions=tuple(expressions)
    )


@functools.cache
def kernel(name: str, kind: str) -> Any:
    """Compiled kernel for "float32" or "float64"."""
    return _module().get_function(f"{name}<{TYPES[kind]}>")


def launch(name: str, dtype: Any, grid: Any, block: Any, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel on arrays of ``dtype`` or float64, and NumPy scalars.

    Raises
    ------
    RuntimeError
        An array is a view with strides or of another type: a kernel would not notice.
    """
    for value in arguments:
        if isinstance(value, np.generic):
            continue
        if not value.flags.c_contiguous or value.dtype not in (dtype, np.float64):
            raise RuntimeError(f"kernel {name}: an array of {value.dtype} is not as it must be")
    kernel(name, str(dtype))(grid, block, arguments)


def per_number(name: str, dtype: Any, count: int, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel that strides over ``count`` numbers."""
    blocks = max(1, min(-(-count // THREADS), 1 << 16))
    launch(name, dtype, (blocks,), (THREADS,), arguments)


def per_image(name: str, dtype: Any, n: int, channels: int, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel of blocks of 32 channels x 8 rows on n images."""
    grid = (n, -(-channels // SUM_CHANNELS))
    launch(name, dtype, grid, (SUM_CHANNELS, SUM_ROWS), arguments)


class FlatKernels:
    """Single passes over flat arrays on the GPU, for :class:`sam_theory.deep.vectors.Vectors`.

    What is changed in place is handed over twice, as what is read and as what is written.
    """

    def __init__(self) -> None:
        import cupy

        self.dot = cupy.ReductionKernel(
            "T x, T y", "float64 z", "(double)x * (double)y", "a + b", "z = a", "0", "flat_dot",
            reduce_type="double",
        )  # fmt: skip
        self.combine = cupy.ElementwiseKernel(
            "T x, T f, T y", "T z", "z = x + f * y", "flat_combine"
        )
        self.momentum_step = cupy.ElementwiseKernel(
            "T g, T rate, T momentum, T w, T v", "T moved, T speed",
            "T next = momentum * v + g; speed = next; moved = w - rate * next",
            "flat_momentum_step",
        )  # fmt: skip
        self.blend = cupy.ElementwiseKernel(
            "T x, T keep, T rest, T y", "T z", "z = keep * x + rest * y", "flat_blend"
        )


@functools.cache
def flat_kernels() -> FlatKernels:
    """Return the kernels, compiled once."""
    return FlatKernels()
