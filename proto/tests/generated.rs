//! The committed code is what the `.proto` file generates.

use std::{fs, path::Path};

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["strongroom/v1/agent.proto"], [root]).unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();

    let generated = fs::read_to_string(out.join("strongroom.v1.rs")).unwrap();
    let committed = root.join("src/gen/strongroom.v1.rs");
    if std::env::var_os("STRONGROOM_REGENERATE").is_some() {
        fs::write(&committed, generated).unwrap();
        return;
    }
    assert!(
        generated == fs::read_to_string(&committed).unwrap(),
        "src/gen is stale: run STRONGROOM_REGENERATE=1 cargo test -p strongroom-proto"
    );
}
