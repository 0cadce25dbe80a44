"""The compiled part of the package; pyproject.toml has the rest."""

from setuptools import Extension, setup

kernels = Extension(
    "drgnalign.engine._kernels",
    ["src/drgnalign/engine/kernels.c"],
    extra_compile_args=["-O3", "-std=gnu11", "-Wno-psabi"],
    libraries=["m"],
    py_limited_api=True,
)
setup(ext_modules=[kernels])
