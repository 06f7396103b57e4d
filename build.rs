//! Compiles `proto/` into Rust code and a descriptor set, in `OUT_DIR`, without `protoc`:
//! `workplane.rs` (one module for each package, to be included) and `descriptor.bin` (all files that are served, with their
//! imports and comments, for reflection), and `stored.bin` (the same with what data directories keep).

use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "proto";
/// Under it: what data directories keep. It gets code, and is never served.
const STORE: &str = "workplane/store";

/// Messages whose Rust types are written by hand: they keep frames and items as the bytes that the store
/// has, which is the same on the wire as the messages themselves.
const RAW: [(&str, &str); 6] = [
    (".workplane.v1.ObserveWorkerResponse", "ObserveWorkerResponse"),
    (".workplane.v1.GetTranscriptResponse", "GetTranscriptResponse"),
    (".workplane.v1.StreamTranscriptResponse", "StreamTranscriptResponse"),
    (".workplane.runtime.v1.ObserveWorkerResponse", "HostObserveWorkerResponse"),
    (".workplane.runtime.v1.GetTranscriptResponse", "HostGetTranscriptResponse"),
    (".workplane.runtime.v1.StreamTranscriptResponse", "HostStreamTranscriptResponse"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ROOT}");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(true);
    let (kept, served): (Vec<_>, Vec<_>) =
        protos(Path::new(ROOT))?.into_iter().partition(|file| file.starts_with(Path::new(ROOT).join(STORE)));
    compiler.open_files(served)?;
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    // Behind what is served, and so not part of it.
    compiler.open_files(kept)?;
    fs::write(out.join("stored.bin"), compiler.encode_file_descriptor_set())?;

    // Maps are BTreeMaps and encode in the order of their keys: a request has one encoding, which its
    // fingerprint is taken over.
    let mut builder = tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .include_file("workplane.rs")
        .emit_rerun_if_changed(false);
    for (message, twin) in RAW {
        builder = builder.extern_path(message, format!("crate::proto::raw::{twin}"));
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// All `.proto` files under `dir`, sorted, so that a build is the same each time.
fn protos(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(protos(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
