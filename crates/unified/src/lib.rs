//! This crate has no code: its manifest gives all programs of the workspace one set of features for the libraries
//! they share, so that each library is compiled once. The clients and the local hub depend on it under
//! `cfg(iothub_workspace)`, which `.cargo/config.toml` sets inside this workspace; a program elsewhere that uses our
//! crates never compiles it.
