# SPDX-License-Identifier: Apache-2.0
"""Train a small CNN on scikit-learn's handwritten digits and write the model and a compact data set.

The data are 1797 scanned digits of 8x8 pixels, 0 to 16 (UCI Optical Recognition of Handwritten Digits). Half of them
train the model; the other half is the test set that edgepack selects and scores on.

    python train.py            # writes digits.keras and digits.npz beside this file
"""

from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
EPOCHS = 60
SEED = 7


def build() -> keras.Model:
    """Return the untrained network: 8x8x1 pixels from 0 to 16 in, 10 class probabilities out."""
    inputs = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Rescaling(1 / 16, name="rescale")(inputs)
    for block, width in enumerate((16, 32)):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{block}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{block}")(x)
        x = keras.layers.ReLU(name=f"relu_{block}")(x)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = keras.layers.Conv2D(48, 1, activation="relu", name="pointwise")(x)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    x = keras.layers.Dropout(0.2, seed=SEED, name="dropout")(x)
    outputs = keras.layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")


def main() -> None:
    """Train, report the accuracy on the held-out half, and write both files."""
    keras.utils.set_random_seed(SEED)
    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., None]
    y = digits.target.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.5, random_state=SEED, stratify=y)
    model = build()
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, EPOCHS * (len(x_train) // 32 + 1))
    model.compile(keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train.astype(np.float32), y_train, batch_size=32, epochs=EPOCHS, verbose=2)
    _, accuracy = model.evaluate(x_test.astype(np.float32), y_test, verbose=0)
    print(f"accuracy on {len(x_test)} held-out digits: {accuracy:.4f}")
    model.save(HERE / "digits.keras")
    np.savez_compressed(HERE / "digits.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main()
