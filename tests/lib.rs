//! This package holds tests, and nothing that others could use. The scenarios are in `scenarios/`, the programs
//! of the guides in `guides/`, the official clients in `interop/`, and the bytes recorded from them in
//! `fixtures/wire`.
