"""The compiled part of the package; pyproject.toml has the rest."""

from setuptools import Extension, setup

kernels = Extension(
    "drgnalign.engine._kernels",
    ["src/drgnalign/engine/kernels.c"],
    depends=["src/drgnalign/engine/fft.c"],
    # -g0: notes for debuggers name the folder that it was built in.
    extra_compile_args=["-O3", "-std=gnu11", "-Wno-psabi", "-g0"],
    libraries=["m"],
    py_limited_api=True,
)
setup(ext_modules=[kernels])
