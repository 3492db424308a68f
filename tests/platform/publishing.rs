//! Both pipelines with registries elsewhere: what is built is taken, pushed, deployed, and pulled and run from there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use shipline_testkit::needs;
use shipline_testkit::remote::{Ecr, RemoteGitops, RemoteRegistry};
use shipline_testkit::service::DockerRegistry;
use shipline_testkit::world::World;

use super::containers::{assert_runs, output};
use super::{SERVICES, timed};

/// What the sample's profile `ci` asks the environment for, and how it arrives at the server.
const TOKEN: (&str, &str) = ("s3cr3t", "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0");

/// A profile of the sample with its two ends.
struct Profile {
    name: &'static str,
    registry: RemoteRegistry,
    gitops: RemoteGitops,
    variables: Vec<(String, String)>,
}

impl Profile {
    fn new(world: &World, name: &'static str, registry: RemoteRegistry) -> Self {
        let seed = world.repository().join("examples/aurora-glam/gitops");
        let gitops = RemoteGitops::start(world, &seed);
        gitops.server.require(TOKEN.1);
        let mut variables = vec![("GITOPS_TOKEN".to_owned(), TOKEN.0.to_owned())];
        let login = registry.login().iter();
        variables.extend(login.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if let RemoteRegistry::Ecr(ecr) = &registry {
            variables.push(("AWS_ENDPOINT_URL_ECR".to_owned(), ecr.fake().url()));
        }
        Self {
            name,
            registry,
            gitops,
            variables,
        }
    }

    fn run(&self, world: &World, pipeline: &str) {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let command = ["pipeline", pipeline, "--profile", self.name];
        let _ = world.run_with(&command, &variables).expect(0);
    }
}

/// The sample's own `ci` against the fake ECR, and a profile of a team that has its own registry with TLS and a password.
pub(super) fn both_pipelines_publish_what_is_built(world: &World, built: &[(String, String)]) {
    let built: BTreeMap<String, String> = built.iter().cloned().collect();
    let mut repositories = vec!["frontend"];
    repositories.extend(SERVICES.iter().map(|(service, _)| *service));
    let mut profiles = vec![Profile::new(
        world,
        "ci",
        RemoteRegistry::Ecr(Ecr::start(&repositories)),
    )];
    profiles.extend(RemoteRegistry::docker().map(|registry| Profile::new(world, "team", registry)));
    configure(world, &profiles);
    for profile in &profiles {
        for pipeline in ["frontend", "backend"] {
            timed(&format!("{pipeline} to {}", profile.name), || {
                publish(world, profile, pipeline, &built);
            });
        }
        assert_eq!(
            profile.registry.tags(),
            built,
            "{}: nothing was built again: its images have the tags and digests of the first run",
            profile.name
        );
        assert_deployed(world, profile, &built);
        timed(&format!("pulled from {}", profile.name), || {
            assert_usable(world, profile, &built);
        });
    }
    world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
}

/// Points the profiles at this machine, as somebody with a mirror or an emulator would.
fn configure(world: &World, profiles: &[Profile]) {
    for profile in profiles {
        match &profile.registry {
            RemoteRegistry::Ecr(ecr) => {
                let region = "region: us-east-1";
                let url = ecr.fake().url();
                let there = format!("{region}\n        registry_endpoint: \"{url}\"");
                world.replace("pipeline.yaml", region, &there);
                let url = "https://github.com/aurora-glam/salon-gitops.git";
                world.replace("pipeline.yaml", url, &profile.gitops.url());
            }
            RemoteRegistry::Docker(_) => {
                let team = format!(
                    "  team:\n    registry: {}\n    gitops: {{ url: \"{}\", branch: main, token: \"${{secret.GITOPS_TOKEN}}\" }}\n\ncomponents:\n",
                    profile.registry.spec(),
                    profile.gitops.url()
                );
                world.replace("pipeline.yaml", "\ncomponents:\n", &team);
            }
        }
    }
    world.commit("Publish on this machine");
}

/// Ends the looking, also where the run fails.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a pipeline while somebody looks at the registry all the time: whoever sees one tag of the run finds all its images.
fn publish(world: &World, profile: &Profile, pipeline: &str, built: &BTreeMap<String, String>) {
    let frontend = pipeline == "frontend";
    let images: BTreeMap<&str, &str> = built
        .iter()
        .filter(|(name, _)| name.starts_with("frontend:") == frontend)
        .map(|(name, digest)| (name.as_str(), digest.as_str()))
        .collect();
    let registry = &profile.registry;
    let ended = AtomicBool::new(false);
    let (looks, early) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut early) = (0_u64, Vec::new());
            while !ended.load(Ordering::SeqCst) {
                let tags = registry.tags();
                let tag = images.keys().find(|name| tags.contains_key(**name));
                if let Some(tag) = tag {
                    let missing = images.iter().filter(|(name, digest)| {
                        let repository = name.split(':').next().unwrap();
                        !registry.holds(repository, digest)
                    });
                    early.extend(missing.map(|(name, _)| format!("{tag} is there before {name}")));
                }
                looks += 1;
                std::thread::yield_now();
            }
            (looks, early)
        });
        let end = End(&ended);
        profile.run(world, pipeline);
        drop(end);
        watcher.join().unwrap()
    });
    assert_eq!(early, Vec::<String>::new(), "{}", profile.name);
    assert!(looks > 10, "{}: looked {looks} times only", profile.name);
}

/// One commit for each pipeline, in which staging names the images by this registry's name.
fn assert_deployed(world: &World, profile: &Profile, built: &BTreeMap<String, String>) {
    let gitops = &profile.gitops;
    assert_eq!(gitops.commits(world), 3, "{}", profile.name);
    for name in built.keys() {
        let (component, tag) = name.split_once(':').unwrap();
        if component == "frontend" && !tag.starts_with("staging-") {
            continue;
        }
        let declared = gitops.declared(world, component);
        assert_eq!(declared, format!("{}/{name}", profile.registry.prefix()));
    }
}

/// Others than we read the images, pull them and run them.
fn assert_usable(world: &World, profile: &Profile, built: &BTreeMap<String, String>) {
    let name = format!("assert_usable ({})", profile.name);
    let programs = needs::programs(&name, &["skopeo"]);
    let engine = needs::docker(&name);
    let client = Client::of(&profile.registry, world.path(profile.name));
    if engine {
        client.log_in(world);
    }
    for (image, digest) in built {
        let component = image.split(':').next().unwrap();
        let image = format!("{}/{image}", client.prefix);
        if programs {
            let mut skopeo = world.command("skopeo");
            skopeo.arg("inspect").args(client.skopeo());
            let inspected = output(skopeo.arg(format!("docker://{image}")));
            assert!(inspected.contains(digest), "{image}: {inspected}");
        }
        if engine {
            let _ = output(client.docker(world).args(["pull", "--quiet", &image]));
            assert_runs(world, &image, component);
        }
    }
}

/// How clients other than ours reach a registry.
struct Client {
    host: String,
    prefix: String,
    user: &'static str,
    password: String,
    /// For skopeo; Docker does not check certificates of loopback addresses.
    ca: Option<PathBuf>,
    folder: PathBuf,
}

impl Client {
    fn of(registry: &RemoteRegistry, folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        match registry {
            RemoteRegistry::Ecr(ecr) => Self {
                host: ecr.fake().host(),
                prefix: ecr.fake().host(),
                user: "AWS",
                password: ecr.fake().token(),
                ca: None,
                folder,
            },
            RemoteRegistry::Docker(docker) => Self {
                host: docker.host(),
                prefix: registry.prefix(),
                user: DockerRegistry::USER,
                password: DockerRegistry::PASSWORD.to_owned(),
                ca: Some(docker.ca()),
                folder,
            },
        }
    }

    fn skopeo(&self) -> Vec<String> {
        let mut arguments = vec![format!("--creds={}:{}", self.user, self.password)];
        match &self.ca {
            Some(ca) => {
                std::fs::copy(ca, self.folder.join("ca.crt")).unwrap();
                arguments.push(format!("--cert-dir={}", self.folder.display()));
            }
            None => arguments.push("--tls-verify=false".to_owned()),
        }
        arguments
    }

    /// Docker with a configuration of its own.
    fn docker(&self, world: &World) -> std::process::Command {
        let mut docker = world.command("docker");
        docker.env("DOCKER_CONFIG", &self.folder);
        docker
    }

    fn log_in(&self, world: &World) {
        let mut login = self
            .docker(world)
            .args(["login", "--username", self.user, "--password-stdin"])
            .arg(&self.host)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = login.stdin.take().unwrap();
        input.write_all(self.password.as_bytes()).unwrap();
        drop(input);
        let _ = world.wait(login).expect(0);
    }
}
