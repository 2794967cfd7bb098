//! The loop against a data path of vectors.
