//! Which packages an image holds: in the run, in its record, in the registry, and by hand.

use std::path::Path;

use cyclonedx_bom::prelude::{Bom, SpecVersion, Validate};
use serde_json::Value;
use shipline_testkit::remote::RemoteRegistry;
use shipline_testkit::tiny::{self, RemoteTiny};
use shipline_testkit::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shipline");

/// Lets `api` ship two packages.
fn plant(world: &World) {
    world.write(
        "api/build.sh",
        r#"#!/bin/sh
set -eu
mkdir -p out/app/node_modules/left-pad out/app/flask-3.0.0.dist-info
cat ../lib/greeting.txt name.txt > out/message.txt
echo '{"name":"left-pad","version":"1.3.0","license":"WTFPL"}' > out/app/node_modules/left-pad/package.json
printf 'Name: Flask\nVersion: 3.0.0\n' > out/app/flask-3.0.0.dist-info/METADATA
"#,
    );
    world.write(
        "api/Dockerfile",
        "FROM scratch\nCOPY out/message.txt /message.txt\nCOPY out/app /app\n",
    );
    world.commit("Plant packages");
}

const PLANTED: [&str; 2] = ["pkg:npm/left-pad@1.3.0", "pkg:pypi/flask@3.0.0"];

/// The packages of a document, which must be a valid one.
#[track_caller]
fn purls(document: &[u8]) -> Vec<String> {
    let bom = Bom::parse_from_json_v1_5(document).unwrap();
    let verdict = bom.validate_version(SpecVersion::V1_5);
    assert!(verdict.passed(), "{verdict:?}");
    let document: Value = serde_json::from_slice(document).unwrap();
    let components = document["components"].as_array().unwrap().iter();
    components
        .map(|component| component["purl"].as_str().unwrap().to_owned())
        .collect()
}

/// The document of `image` in a run's record.
fn recorded(world: &World, image: &str) -> Vec<Vec<u8>> {
    let runs = world.repository().join(".shipline/runs");
    let runs = std::fs::read_dir(runs).unwrap().map(Result::unwrap);
    let mut runs: Vec<_> = runs.map(|run| run.path()).collect();
    runs.sort();
    let documents = runs.iter().filter_map(|run| {
        let name = format!("documents/{image}.sbom.cdx.json");
        std::fs::read(run.join(name)).ok()
    });
    documents.collect()
}

#[test]
fn the_registry_lists_the_sbom_beside_the_scan() {
    let tiny = RemoteTiny::ecr(PROGRAM);
    let RemoteRegistry::Ecr(ecr) = &tiny.registry else {
        unreachable!("this is ECR")
    };
    plant(&tiny.world);
    let run = tiny
        .world
        .run(&["pipeline", "backend", "--profile", "ci"])
        .expect(0);
    assert!(run.stderr.contains("SBOM: 2 packages"), "{}", run.stderr);
    let tags = tiny.registry.tags();
    let (_, digest) = tags
        .iter()
        .find(|(name, _)| name.starts_with("api:"))
        .unwrap();
    let mut documents = ecr.fake().documents("api", digest);
    documents.sort();
    let types: Vec<&str> = documents.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        types,
        ["application/sarif+json", "application/vnd.cyclonedx+json"]
    );
    assert_eq!(purls(&documents[1].1), PLANTED);
    assert_eq!(recorded(&tiny.world, "api"), [documents[1].1.clone()]);

    // A run that changes nothing asks nobody, and its record has the document all the same.
    let requests = ecr.fake().log().len();
    let _ = tiny
        .world
        .run(&["pipeline", "backend", "--profile", "ci", "--all"])
        .expect(0);
    let log = ecr.fake().log();
    let later = log.iter().skip(requests);
    let uploads: Vec<_> = later.filter(|request| request.method == "PUT").collect();
    assert!(uploads.is_empty(), "{uploads:?}");
    let both = recorded(&tiny.world, "api");
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], both[1]);
}

#[test]
fn an_image_is_looked_into_by_name_tag_digest_and_path() {
    let world = tiny::world(PROGRAM);
    plant(&world);
    tiny::green(&world, &["pipeline", "backend"]);
    let tags = tiny::tags(&world);
    let (tag, digest) = tags
        .iter()
        .find(|(name, _)| name.starts_with("api:"))
        .unwrap();
    let published = recorded(&world, "api").remove(0);
    let layout = format!(".shipline/registry:{tag}");
    for target in ["api", tag, digest, &layout] {
        let run = world.run(&["scan", "sbom", target]).expect(0);
        assert_eq!(run.stdout.as_bytes(), published, "{target}");
        assert_eq!(run.stderr, format!("2 packages in api {digest}\n"));
    }
    let run = world
        .run(&["scan", "sbom", "api", "--format", "table"])
        .expect(0);
    assert_eq!(
        run.stdout,
        "npm   left-pad  1.3.0  WTFPL\npypi  Flask     3.0.0\n"
    );
    let _ = world
        .run(&["scan", "sbom", "api", "--output", "api.cdx.json"])
        .expect(0);
    assert_eq!(world.read("api.cdx.json").as_bytes(), published);

    let masked = world
        .run_with(
            &["scan", "sbom", "api", "--format", "table"],
            &[("GITHUB_TOKEN", "left-pad")],
        )
        .expect(0);
    assert!(masked.stdout.starts_with("npm   ***"), "{}", masked.stdout);

    // An archive, and a layout where nobody has a pipeline.yaml.
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let registry = world.repository().join(".shipline/registry");
    pack(&registry, &elsewhere.join("image.tar"));
    let target = format!("image.tar:{tag}");
    let mut command = world.command(PROGRAM);
    let output = command
        .current_dir(&elsewhere)
        .args(["scan", "sbom", &target])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, published);
}

fn pack(folder: &Path, archive: &Path) {
    let mut builder = tar::Builder::new(std::fs::File::create(archive).unwrap());
    builder.append_dir_all(".", folder).unwrap();
    builder.finish().unwrap();
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let world = tiny::world(PROGRAM);
    let run = world.run(&["scan", "sbom", "api"]).expect(2);
    assert!(
        run.stderr.contains("there is no image `api`"),
        "{}",
        run.stderr
    );
    tiny::green(&world, &["pipeline", "backend"]);
    let run = world.run(&["scan", "sbom", "aip"]).expect(2);
    assert!(run.stderr.contains("did you mean `api`?"), "{}", run.stderr);
    for (target, why) in [
        ("./nowhere", "does not exist"),
        ("./api", "it is no OCI image layout"),
        (".shipline/registry", "holds 2 images"),
        ("pipeline.yaml", "not compressed as a whole"),
    ] {
        let run = world.run(&["scan", "sbom", target]).expect(2);
        assert!(run.stderr.contains(why), "{target}: {}", run.stderr);
    }
}
