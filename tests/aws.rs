//! AWS as a laptop and a job have it: profiles, a credential process, SSO, GitHub's OIDC token, true host names, and no machine's metadata.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipline_testkit::ecr::{FakeEcr, Mutability, Options, TestCertificate};
use shipline_testkit::tiny;
use shipline_testkit::tunnel::Tunnel;
use shipline_testkit::world::{Ran, World};
use tokio::runtime::Runtime;

/// The tiny platform whose profile `ci` publishes to ECR and deploys into the local GitOps repository.
fn world(registry: &str) -> World {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let profile = format!(
        "  ci:\n    registry: {registry}\n    gitops: {{ path: .shipline/gitops.git, seed: gitops }}\n\ncomponents:\n"
    );
    world.replace("pipeline.yaml", "\ncomponents:\n", &profile);
    world.commit("Add the profile ci");
    world
}

fn fake(runtime: &Runtime, options: Options) -> FakeEcr {
    let fake = runtime.block_on(FakeEcr::start(options)).unwrap();
    for repository in ["web", "api", "worker"] {
        fake.create(repository, Mutability::Immutable);
    }
    fake
}

fn spec(fake: &FakeEcr) -> String {
    let url = fake.url();
    format!(
        "{{ ecr: {{ account: \"123456789012\", region: us-east-1, endpoint: \"{url}\", registry_endpoint: \"{url}\" }} }}"
    )
}

fn publish(world: &World, variables: &[(&str, &str)]) -> Ran {
    world.run_with(&["pipeline", "web", "--profile", "ci"], variables)
}

/// Counts connections to a place where instance metadata would be.
fn metadata() -> (String, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, count)
}

#[test]
fn a_profile_with_a_credential_process_logs_in() {
    let runtime = Runtime::new().unwrap();
    let fake = fake(&runtime, Options::default());
    let world = world(&spec(&fake));
    let process = world.path("credentials");
    std::fs::write(
        &process,
        "#!/bin/sh\necho '{\"Version\":1,\"AccessKeyId\":\"AKIDPROCESS\",\"SecretAccessKey\":\"of-the-tests\"}'\n",
    )
    .unwrap();
    std::fs::set_permissions(&process, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = world.path("aws-config");
    let text = format!(
        "[profile work]\nregion = eu-west-1\ncredential_process = \"{}\"\n",
        process.display()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let variables = [
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_PROFILE", "work"),
    ];
    let _ = publish(&world, &variables).expect(0);
    assert_eq!(fake.all_tags().len(), 2, "{:?}", fake.all_tags());
    assert_eq!(fake.caller().as_deref(), Some("AKIDPROCESS"));
}

#[test]
fn a_profile_with_sso_logs_in_with_the_token_of_aws_sso_login() {
    let runtime = Runtime::new().unwrap();
    let fake = fake(&runtime, Options::default());
    let world = world(&spec(&fake));
    let home = world.path("sso-home");
    let cache = home.join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(
        home.join(".aws/config"),
        "[profile work]\nsso_session = company\nsso_account_id = 123456789012\nsso_role_name = deploy\nregion = us-east-1\n\n[sso-session company]\nsso_region = us-east-1\nsso_start_url = https://company.awsapps.com/start\n",
    )
    .unwrap();
    // SHA-1 of `company`, as the AWS tools name the file.
    std::fs::write(
        cache.join("71b21161ffa1e6516bcc072aaf5ef38cbe85b511.json"),
        "{\"accessToken\":\"token of the tests\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}",
    )
    .unwrap();
    let home = home.display().to_string();
    let portal = fake.url();
    let variables = [
        ("HOME", home.as_str()),
        ("AWS_PROFILE", "work"),
        ("AWS_ENDPOINT_URL_SSO", portal.as_str()),
    ];
    let _ = publish(&world, &variables).expect(0);
    assert_eq!(fake.caller().as_deref(), Some("ASIASSO"));
}

#[test]
fn who_has_no_credentials_is_told_at_once_and_no_machine_is_asked() {
    let runtime = Runtime::new().unwrap();
    let fake = fake(&runtime, Options::default());
    let world = world(&spec(&fake));
    let (url, connections) = metadata();
    let run = publish(&world, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).expect(3);
    assert!(run.stderr.contains("aws sso login"), "{}", run.stderr);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    assert!(fake.all_tags().is_empty());
}

#[test]
fn the_true_hosts_are_reached_through_the_proxy_of_the_environment() {
    let runtime = Runtime::new().unwrap();
    let registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let certificate = TestCertificate::new(&[
        registry,
        "api.ecr.us-east-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
        "127.0.0.1",
    ])
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    FakeEcr::write_ca(&certificate, &ca).unwrap();
    let options = Options {
        tls: Some(certificate),
        proxy_host: Some(registry.to_owned()),
        ..Options::default()
    };
    let fake = fake(&runtime, options);
    let tunnel = runtime.block_on(Tunnel::start(fake.host())).unwrap();
    let spec = format!(
        "{{ ecr: {{ account: \"123456789012\", region: us-east-1, ca: \"{}\", role: \"arn:aws:iam::123456789012:role/deploy\" }} }}",
        ca.display()
    );
    let world = world(&spec);
    let (request, secret) = fake.github_job();
    let proxy = tunnel.url();
    let variables = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", request.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret),
    ];
    let _ = publish(&world, &variables).expect(0);
    let image = tiny::declared(&world, "staging", "web");
    assert!(
        image.starts_with(&format!("{registry}/web:staging-")),
        "{image}"
    );
    let asked = tunnel.asked();
    for host in [
        registry,
        "api.ecr.us-east-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
    ] {
        assert!(asked.contains(&format!("{host}:443")), "{asked:?}");
    }
}

#[test]
fn an_image_that_runs_and_will_expire_is_told() {
    let runtime = Runtime::new().unwrap();
    let fake = fake(&runtime, Options::default());
    let world = world(&spec(&fake));
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
        ("AWS_SECRET_ACCESS_KEY", "of-the-tests"),
    ];
    let _ = publish(&world, &keys).expect(0);
    let running = tiny::declared_tag(&world, "staging", "web");
    // The next twins, and no others.
    fake.keep_newest("web", 2);
    world.replace(
        "web/Dockerfile",
        "FROM scratch",
        "FROM scratch\nLABEL again=yes",
    );
    world.commit("Change the image");
    let run = publish(&world, &keys).expect(0);
    let expected = format!("staging runs web:{running}, which the registry will remove by rule 1");
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
}
