//! Builds the engine with `cfg(shuttle)`: see `src/sync.rs`.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
