//! The contract of every port: the cases stand once, as functions over the port; a backend supplies only `open`.

mod media;
