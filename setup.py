"""The compiled part of the package; pyproject.toml has the rest."""

from setuptools import Extension, setup

# included by kernels.c
INNER_LOOPS = ("src/drgnalign/engine/fft.c", "src/drgnalign/engine/latent.c")


def extension(module: str, *options: str, included: tuple[str, ...] = ()) -> Extension:
    """The C file that has a module's name: of drgnalign.formats.par drgnalign.formats._par."""
    package, _, name = module.rpartition(".")
    return Extension(
        f"{package}._{name}",
        [f"src/{module.replace('.', '/')}.c"],
        depends=list(included),
        # -g0: notes for debuggers name the folder that it was built in.
        extra_compile_args=["-O3", "-std=gnu11", "-g0", *options],
        libraries=["m"],
        py_limited_api=True,
    )


setup(
    ext_modules=[
        extension("drgnalign.engine.kernels", "-Wno-psabi", included=INNER_LOOPS),
        extension("drgnalign.engine.reconstruct"),
        # The same to the last bit on every processor.
        extension("drgnalign.formats.par", "-ffp-contract=off"),
        extension("drgnalign.formats.text_table", "-ffp-contract=off"),
        extension("drgnalign.particles", "-ffp-contract=off"),
        extension("drgnalign.simulate.projection", "-ffp-contract=off"),
    ]
)
