//! Nothing: this package holds tests. The scenarios are in `scenarios/`, the official clients in
//! `interop/`, and the bytes recorded from them in `fixtures/wire`.
