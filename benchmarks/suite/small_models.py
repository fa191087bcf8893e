# SPDX-License-Identifier: Apache-2.0
"""Train the suite's small models on data that scikit-learn ships; seeded, some seconds each.

    python small_models.py rows FOLDER       # writes model.keras, train.npz and rest.npz

They are wider than their task needs, as models are that nobody has compressed yet.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

SEED = 11
EPOCHS = {"rows": 40, "cancer": 60, "diabetes": 15}


def rows_data() -> tuple[np.ndarray, np.ndarray]:
    """Return digits as series: 8 steps (rows of a scan) of 8 values, 0 to 1."""
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


def cancer_data() -> tuple[np.ndarray, np.ndarray]:
    """Return 30 standardized measures of 569 tumours, benign or not."""
    table = load_breast_cancer()
    return standardized(table.data), table.target.astype(np.int64)


def diabetes_data() -> tuple[np.ndarray, np.ndarray]:
    """Return 10 standardized measures of 442 patients, and their progression in its own standard deviations."""
    table = load_diabetes()
    return standardized(table.data), standardized(table.target)


def standardized(values: np.ndarray) -> np.ndarray:
    """Return ``values`` with mean 0 and standard deviation 1, column by column."""
    return ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32)


def rows_model() -> keras.Model:
    """Return a Conv1D network: 8x8 in, 10 class probabilities out, 33,000 parameters."""
    inputs = keras.Input((8, 8), name="series")
    x = inputs
    for index, width in enumerate((48, 64, 96)):
        x = keras.layers.Conv1D(width, 3, padding="same", use_bias=False, name=f"conv_{index}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{index}")(x)
        x = keras.layers.ReLU(name=f"relu_{index}")(x)
    x = keras.layers.Flatten(name="flatten")(keras.layers.MaxPooling1D(name="pool")(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="digit")(x), name="rows")


def dense_model(name: str, features: int, *, outputs: int) -> keras.Model:
    """Return a perceptron with two hidden layers; one output is a number, more are classes."""
    inputs = keras.Input((features,), name="features")
    x = keras.layers.Dense(128, activation="relu", name="hidden_0")(inputs)
    x = keras.layers.Dropout(0.3, seed=SEED, name="dropout")(x)
    x = keras.layers.Dense(64, activation="relu", name="hidden_1")(x)
    activation = "softmax" if outputs > 1 else None
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation, name="answer")(x), name=name)


MAKES = {
    "rows": (rows_data, rows_model),
    "cancer": (cancer_data, lambda: dense_model("cancer", 30, outputs=2)),
    "diabetes": (diabetes_data, lambda: dense_model("diabetes", 10, outputs=1)),
}


def main() -> None:
    """Train the model that is named and write it with its samples."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    keras.utils.set_random_seed(SEED)
    data, make = MAKES[name]
    x, y = data()
    classes = y.dtype.kind == "i"
    x_train, x_rest, y_train, y_rest = train_test_split(
        x, y, test_size=0.5, random_state=SEED, stratify=y if classes else None
    )
    model = make()
    loss = "sparse_categorical_crossentropy" if classes else "mean_absolute_error"
    model.compile(keras.optimizers.Adam(2e-3), loss=loss, metrics=["accuracy"] if classes else [])
    model.fit(x_train, y_train, batch_size=32, epochs=EPOCHS[name], verbose=0)
    print(f"{name}: {model.evaluate(x_rest, y_rest, verbose=0, return_dict=True)} on {len(x_rest)} held-out samples")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "train.npz", x=x_train, y=y_train)
    np.savez(folder / "rest.npz", x=x_rest, y=y_rest)
    model.save(folder / "model.keras")


if __name__ == "__main__":
    main()
