//! Turns our protocol definitions into Rust, without `protoc`.

/// Every file of `proto/`, one a service.
const FILES: [&str; 7] = ["remote_api", "memcache", "modules", "user", "capability", "app_identity", "system"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: Vec<String> = FILES.iter().map(|name| format!("proto/{name}.proto")).collect();
    let compiled = protox::compile(&files, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(compiled)?;
    Ok(())
}
