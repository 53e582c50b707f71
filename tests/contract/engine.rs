//! The contract of `ImageEngine`.
