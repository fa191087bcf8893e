# SPDX-License-Identifier: Apache-2.0
"""The data set: calibration, train, selection and test splits behind one pipeline, and the metric."""
