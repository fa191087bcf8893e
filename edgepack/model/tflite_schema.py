# SPDX-License-Identifier: Apache-2.0
"""The TFLite schema as far as a reader follows offsets in it, and the types and weights that its numbers mean.

Field ids are those of ``tflite/schema.fbs`` (version 3). An options table that holds a vector is named by its union
id; of every other options table the frame is checked, for all that it holds is inline.
"""

from typing import Final

from edgepack.model._flatbuffer import Scalar, Schema, Table, Text, Union, Vector

_BYTE: Final = Scalar(1)
_INT: Final = Scalar(4)
_LONG: Final = Scalar(8)
_BYTES: Final = Vector(Scalar(1))
_INTS: Final = Vector(Scalar(4))
_LONGS: Final = Vector(Scalar(8))

_INDEXES: Final = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
_OPTIONS: Final = {3: "ConcatEmbeddings", 17: "Reshape", 30: "Reshape", 111: "VarHandle", 115: "Reshape"}
# StableHLO's options: the ids of their vectors of 64-bit integers; two of them hold text as well.
_STABLEHLO_VECTORS: Final = {
    2: (0,),
    3: (0, 1, 2),
    4: (0, 1, 2, 3, 7, 10, 13),
    6: (0,),
    7: (1, 2, 3),
    9: (0,),
    10: (0, 1, 2),
    12: (0, 1, 2, 3),
    13: (0, 1, 2, 3, 4),
    16: (0, 1, 2, 4),
    17: (0,),
}
_OPTIONS_2: Final = {number: f"Stablehlo{number}" for number in (*_STABLEHLO_VECTORS, 5, 21)}

SCHEMA: Final[Schema] = {
    "Model": {
        0: _INT,
        1: Vector("OperatorCode"),
        2: Vector("SubGraph"),
        3: Text(),
        4: Vector("Buffer"),
        5: _INTS,
        6: Vector("Metadata"),
        7: Vector("SignatureDef"),
    },
    "OperatorCode": {0: _BYTE, 1: Text(), 2: _INT, 3: _INT},
    "SubGraph": {0: Vector("Tensor"), 1: _INTS, 2: _INTS, 3: Vector("Operator"), 4: Text(), 5: _INT},
    "Tensor": {
        0: _INTS,
        1: _BYTE,
        2: _INT,
        3: Text(),
        4: Table("QuantizationParameters"),
        5: _BYTE,
        6: Table("SparsityParameters"),
        7: _INTS,
        8: _BYTE,
        9: Vector("VariantSubType"),
    },
    "VariantSubType": {0: _INTS, 1: _BYTE, 2: _BYTE},
    "QuantizationParameters": {
        0: _INTS,
        1: _INTS,
        2: _INTS,
        3: _LONGS,
        4: _BYTE,
        5: Union(4, {1: "CustomQuantization"}),
        6: _INT,
    },
    "CustomQuantization": {0: _BYTES},
    "SparsityParameters": {0: _INTS, 1: _INTS, 2: Vector("DimensionMetadata")},
    "DimensionMetadata": {0: _BYTE, 1: _INT, 2: _BYTE, 3: Union(2, _INDEXES), 4: _BYTE, 5: Union(4, _INDEXES)},
    "Int32Vector": {0: _INTS},
    "Uint16Vector": {0: Vector(Scalar(2))},
    "Uint8Vector": {0: _BYTES},
    "Operator": {
        0: _INT,
        1: _INTS,
        2: _INTS,
        3: _BYTE,
        4: Union(3, _OPTIONS),
        5: _BYTES,
        6: _BYTE,
        7: _BYTES,
        8: _INTS,
        9: _LONG,
        10: _LONG,
        11: _BYTE,
        12: Union(11, _OPTIONS_2),
        13: _INT,
    },
    "Buffer": {0: _BYTES, 1: _LONG, 2: _LONG},
    "Metadata": {0: Text(), 1: _INT},
    "SignatureDef": {0: Vector("TensorMap"), 1: Vector("TensorMap"), 2: Text(), 3: Text(), 4: _INT},
    "TensorMap": {0: Text(), 1: _INT},
    "Reshape": {0: _INTS},
    "ConcatEmbeddings": {0: _INT, 1: _INTS, 2: _INTS},
    "VarHandle": {0: Text(), 1: Text()},
    **{f"Stablehlo{number}": dict.fromkeys(fields, _LONGS) for number, fields in _STABLEHLO_VECTORS.items()},
    "Stablehlo5": {0: Text(), 2: Text(), 4: _INTS, 5: _BYTES},
    "Stablehlo21": {0: Text(), 2: _BYTES},
}

# TensorType -> NumPy's name, and the bits that an element takes; string, resource and variant have no fixed width.
DTYPES: Final[dict[int, tuple[str, int]]] = {
    0: ("float32", 32),
    1: ("float16", 16),
    2: ("int32", 32),
    3: ("uint8", 8),
    4: ("int64", 64),
    5: ("string", 0),
    6: ("bool", 8),
    7: ("int16", 16),
    8: ("complex64", 64),
    9: ("int8", 8),
    10: ("float64", 64),
    11: ("complex128", 128),
    12: ("uint64", 64),
    13: ("resource", 0),
    14: ("variant", 0),
    15: ("uint32", 32),
    16: ("uint16", 16),
    17: ("int4", 4),
    18: ("bfloat16", 16),
    19: ("int2", 2),
}
