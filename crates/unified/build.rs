//! This build script does nothing: cargo takes build dependencies into account only for a package that has one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
