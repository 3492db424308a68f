//! The fake ECR under the tools that people use: what it lets through, the real one would, too.

use shipline_testkit::ecr::Mutability;
use shipline_testkit::needs;

use crate::support::tool;

/// Runs a tool that is there; gives what it said.
#[track_caller]
fn run(program: &str, arguments: &[&str], expected: bool) -> String {
    let Some((good, output)) = tool(program, arguments) else {
        panic!("{program} is gone");
    };
    assert_eq!(good, expected, "{program} {arguments:?}: {output}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_and_skopeo_push_and_pull() {
    let test = "docker_and_skopeo_push_and_pull";
    if !needs::docker(test) || !needs::programs(test, &["skopeo"]) {
        return;
    }
    let fake = crate::distribution::fake().await;
    fake.create("frozen", Mutability::Immutable);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut tar = tar::Builder::new(std::fs::File::create(path("files.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "hello", &b"hi"[..]).unwrap();
    tar.finish().unwrap();
    let name = |repository: &str, tag: &str| format!("{}/{repository}:{tag}", fake.host());
    let (config, image) = (path("config"), name("frozen", "by-docker"));
    let docker = |arguments: &[&str], expected| {
        run(
            "docker",
            &[&["--config", &config], arguments].concat(),
            expected,
        )
    };
    docker(&["import", &path("files.tar"), &image], true);
    let login = ["login", "--username", "AWS", "--password"];
    docker(&[&login[..], &["guess", &fake.host()]].concat(), false);
    docker(&[&login[..], &[&fake.token(), &fake.host()]].concat(), true);
    docker(&["push", &image], true);
    // Another image under the same tag.
    docker(
        &["import", "--message", "other", &path("files.tar"), &image],
        true,
    );
    let refused = docker(&["push", &image], false);
    assert!(
        refused.contains("tag invalid") && refused.contains("immutable"),
        "{refused}"
    );
    docker(&["rmi", &image], true);
    docker(&["pull", &image], true);
    docker(&["rmi", &image], true);
    let missing = name("missing", "x");
    docker(&["import", &path("files.tar"), &missing], true);
    let refused = docker(&["push", &missing], false);
    docker(&["rmi", &missing], true);
    assert!(refused.contains("name unknown"), "{refused}");

    let login = format!("AWS:{}", fake.token());
    let (from, to) = (
        format!("docker://{image}"),
        format!("docker://{}", name("user_service", "by-skopeo")),
    );
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let logins = ["--src-creds", &login, "--dest-creds", &login];
    let copy = [&["copy"], &plain[..], &logins[..], &[&from, &to]].concat();
    run("skopeo", &copy, true);
    assert_eq!(
        fake.tag("frozen", "by-docker"),
        fake.tag("user_service", "by-skopeo")
    );
    assert_eq!(fake.broken(), Vec::<String>::new());
}
