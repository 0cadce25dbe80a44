"""Reading pickles of numpy arrays without running them.

An ordinary pickle can call any function when it is loaded, and Python's own unpickler, even with a restricted
``find_class``, can be made to allocate or recurse without bound by a few bytes. So the pickle's opcodes are
interpreted here: they can make numbers, text, tuples, lists and numpy arrays over bytes that the file holds, and
nothing else. Opcodes: ``pickletools`` of the standard library; what numpy writes: ``ndarray.__reduce_ex__``.
"""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import InputError

# An array takes less than 100 opcodes, a list one for every number (eight if they are numpy's). This many opcodes
# cannot make objects of more than about half a GB.
MAX_OPCODES = 5_000_000
MAX_DIMENSIONS = 4
# Booleans, whole and real numbers, bytes and text; never objects, never items of no size.
DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,4}")

ZIP_MAGIC = b"PK\x03\x04"
# The first thing in a file of torch.save before it wrote zip files.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH = "it is a file of torch, such as weights; those are never read, because loading them can run code"


class _Name(Enum):
    """What the pickle of an array refers to."""

    NDARRAY = auto()
    DTYPE = auto()
    RECONSTRUCT = auto()
    FROMBUFFER = auto()
    SCALAR = auto()
    ENCODE = auto()


NAMES = {"numpy ndarray": _Name.NDARRAY, "numpy dtype": _Name.DTYPE, "_codecs encode": _Name.ENCODE}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    NAMES[f"{_core}.multiarray _reconstruct"] = _Name.RECONSTRUCT
    NAMES[f"{_core}.multiarray scalar"] = _Name.SCALAR
    NAMES[f"{_core}.numeric _frombuffer"] = _Name.FROMBUFFER


def read_pickles(path: str | Path, remedy: str, count: int = 1) -> list[Any]:
    """Read the first objects of a file of pickles, written with any protocol and by numpy 1 or 2.

    Parameters
    ----------
    path : path
    remedy : str
        What the user can do about a file that cannot be read.
    count : int
        How many pickles to read, one after the other.

    Returns
    -------
    list
        Numbers, text, numpy arrays of numbers, bytes or text (read-only), lists, and tuples of these.

    Raises
    ------
    InputError
        No such file, a damaged one, or one that holds or refers to anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        # Reading beyond the end of a map gives what is there: a false length cannot make it allocate more.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[: len(ZIP_MAGIC)] == ZIP_MAGIC:
                raise pickle.UnpicklingError(TORCH)
            return [_load(content) for _ in range(count)]
    # A damaged pickle raises almost anything; only some of it says something to the user.
    except Exception as error:
        speaks = isinstance(error, (pickle.UnpicklingError, ValueError, OSError))
        problem = f"cannot be read ({str(error)[:200] if speaks else 'it is damaged'})"
        raise InputError(path, problem, remedy) from error


@dataclass(slots=True)
class _DType:
    code: str
    byte_order: str = "="

    def numpy(self) -> np.dtype[Any]:
        if not DTYPE.fullmatch(self.code):
            raise pickle.UnpicklingError(f"it holds an array of type {self.code[:20]!a}")
        return np.dtype(self.byte_order + self.code)


@dataclass(slots=True)
class _Array:
    value: NDArray[Any] | None = None


@dataclass
class _Machine:
    """The stack machine that a pickle is a program for."""

    budget: int  # bytes that may be copied within memory
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > 64:
            raise pickle.UnpicklingError(TORCH if value == TORCH_MAGIC else "it holds a number beyond 64 bits")
        self.stack.append(value)

    def pop_last(self, count: int) -> list[Any]:
        start = len(self.stack) - count
        if start < 0:
            raise pickle.UnpicklingError("it is damaged")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_to_mark(self) -> list[Any]:
        return self.pop_last(len(self.stack) - self.marks.pop())

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise pickle.UnpicklingError("it is damaged")
        target.extend(items)

    def refer(self, name: str) -> None:
        if name not in NAMES:
            shown = ascii(name[:80].replace(" ", "."))
            raise pickle.UnpicklingError(TORCH if name.startswith("torch") else f"it refers to {shown}")
        self.stack.append(NAMES[name])

    def call(self) -> None:
        """What REDUCE does: a function and the tuple of its arguments become the result."""
        function, arguments = self.pop_last(2)
        match function, arguments:
            case _Name.RECONSTRUCT, (_Name.NDARRAY, (0,), _):
                self.stack.append(_Array())
            case _Name.DTYPE, (str(code), _, _):
                self.stack.append(_DType(code))
            case _Name.FROMBUFFER, (bytes() | bytearray() as raw, _DType() as dtype, tuple(shape), str(order), *axes):
                array = _array(raw, dtype, shape, "C" if order == "K" else order)
                self.stack.append(_Array(array.transpose(*axes) if axes else array))
            case _Name.SCALAR, (_DType() as dtype, bytes(raw)) if len(raw) <= 8:
                self.stack.append(_array(raw, dtype, (), "C").item())
            case _Name.ENCODE, (str(text), "latin1"):
                self.budget -= len(text)
                if self.budget < 0:
                    raise pickle.UnpicklingError("it holds more than its size")
                self.stack.append(text.encode("latin1"))
            case _:
                raise pickle.UnpicklingError("it holds something else than arrays of numbers")

    def build(self) -> None:
        """What BUILD does: set the state of an array or of its type of number."""
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Array() as target, (_, tuple(shape), _DType() as dtype, in_columns, bytes(raw)):
                target.value = _array(raw, dtype, shape, "F" if in_columns else "C")
            case _DType() as target, (_, "<" | ">" | "=" | "|" as byte_order, None, None, None, *_):
                target.byte_order = byte_order
            case _:
                raise pickle.UnpicklingError("it holds something else than arrays of numbers")


def _array(raw: bytes | bytearray, code: _DType, shape: tuple[Any, ...], order: Any) -> NDArray[Any]:
    """An array over the bytes themselves, of exactly their size."""
    dtype = code.numpy()
    if len(shape) > MAX_DIMENSIONS or not all(type(length) is int and length >= 0 for length in shape):
        raise pickle.UnpicklingError("an array has no possible shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {shape} and type {dtype} comes with {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order=order)


def _pushes(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value)


def _makes_tuple(length: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.pop_last(length)))


ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _Machine.push),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), _Machine.push),
    "NONE": _pushes(None),
    "NEWTRUE": _pushes(True),
    "NEWFALSE": _pushes(False),
    "EMPTY_TUPLE": _makes_tuple(0),
    "TUPLE1": _makes_tuple(1),
    "TUPLE2": _makes_tuple(2),
    "TUPLE3": _makes_tuple(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.append(machine.pop_last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "MEMOIZE": lambda machine, _: machine.memo.__setitem__(len(machine.memo), machine.stack[-1]),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, key: machine.memo.__setitem__(key, machine.stack[-1])
    ),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, key: machine.stack.append(machine.memo[key])),
    "GLOBAL": _Machine.refer,
    "STACK_GLOBAL": lambda machine, _: machine.refer(" ".join(machine.pop_last(2))),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}


def _load(content: mmap.mmap) -> Any:
    machine = _Machine(budget=len(content))
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):  # type: ignore[arg-type]
        if opcode.name == "STOP":
            break
        if count == MAX_OPCODES:
            raise pickle.UnpicklingError(f"it takes more than {MAX_OPCODES:,} steps; pickle one numpy array instead")
        if opcode.name not in ACTIONS:
            raise pickle.UnpicklingError(f"it holds more than arrays, numbers, lists and tuples ({opcode.name})")
        ACTIONS[opcode.name](machine, argument)
    result = machine.stack.pop()
    return tuple(_finished(part) for part in result) if isinstance(result, tuple) else _finished(result)


def _finished(value: Any) -> Any:
    return value.value if isinstance(value, _Array) else value
