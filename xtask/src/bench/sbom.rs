//! The packages of an image, listed by Shipline and by the peers that the machine has.

use std::path::Path;

use super::{Series, command, load, shipline};
use crate::provision;

/// How often each is measured.
const TIMES: usize = 3;

/// Measures on the image of an OCI layout, which must hold no other: peers do not choose.
pub(super) fn run(layout: &str) -> Result<(), String> {
    let path = Path::new(layout)
        .canonicalize()
        .map_err(|error| format!("cannot find {layout}: {error}"))?;
    let layout = path.display().to_string();
    let program = shipline()?;
    println!("the packages of {layout}; {}", load());
    let list = || command(&program, &["scan", "sbom", &layout, "--format=cyclonedx"]);
    let mut ours = Series::new("shipline scan sbom");
    for _ in 0..TIMES {
        ours.run(&mut list())?;
    }
    ours.look(&mut list())?;
    println!("{}", ours.line());
    let source = format!("oci-dir:{layout}");
    let syft = ["scan", "--quiet", &source, "--output=cyclonedx-json"];
    peer("syft", &syft)?;
    // Jars would need a database of a gigabyte from the network.
    let trivy = [
        "image",
        "--quiet",
        "--offline-scan",
        "--skip-version-check",
        "--skip-files=**/*.jar",
        "--format=cyclonedx",
        "--input",
        &layout,
    ];
    peer("trivy", &trivy)
}

fn peer(name: &str, arguments: &[&str]) -> Result<(), String> {
    let Some(program) = provision::program(name) else {
        println!("skipped: {name}: not on this machine");
        return Ok(());
    };
    let mut series = Series::new(name);
    for _ in 0..TIMES {
        let mut run = command(&program.display().to_string(), arguments);
        // Nothing but the image is looked at, and nobody is asked.
        series.run(run.env("SYFT_CHECK_FOR_APP_UPDATE", "false"))?;
    }
    println!("{}", series.line());
    Ok(())
}
