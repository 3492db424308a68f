//! Git over SSH against a real server on loopback: keys, host keys, and a lost race.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shipline_testkit::world::World;
use shipline_testkit::{needs, tiny};

const SSHD: &str = "/usr/sbin/sshd";

/// A server with host keys of its own that lets one key in.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path);
    assert!(command.status().unwrap().success());
}

fn who() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        keygen(&path("host"));
        keygen(&path("user"));
        fs::copy(path("user.pub"), path("authorized")).unwrap();
        fs::set_permissions(path("authorized"), fs::Permissions::from_mode(0o600)).unwrap();
        // Debian's package makes it when its service starts.
        let _ = fs::create_dir_all("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            folder.path().display()
        );
        fs::write(path("config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            folder,
            port,
            child,
        };
        server.wait();
        server
    }

    /// Until it takes connections: it says nothing when it does.
    fn wait(&self) {
        let address = format!("127.0.0.1:{}", self.port).parse().unwrap();
        for _ in 0..2000 {
            if TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok() {
                return;
            }
            std::thread::yield_now();
            let _ = Command::new("true").status();
        }
        panic!("sshd does not listen");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn known_hosts(&self) -> String {
        let key = self.text("host.pub");
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        format!("[127.0.0.1]:{} {}", self.port, key.join(" "))
    }
}

/// The sample world, whose profile `ssh` names a bare repository on the server.
fn world(server: &Server, known_hosts: &str) -> World {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let _ = tiny::green(&world, &["pipeline", "web"]);
    let bare = world.repository().join(".shipline/gitops.git");
    let served = server.path("gitops.git");
    world.git(&[
        "clone",
        "--quiet",
        "--bare",
        &bare.display().to_string(),
        &served.display().to_string(),
    ]);
    let url = format!(
        "ssh://{}@127.0.0.1:{}{}",
        who(),
        server.port,
        served.display()
    );
    let profile = format!(
        "  ssh:\n    registry: {{ layout: .shipline/registry }}\n    gitops:\n      url: \"{url}\"\n      key: \"${{secret.GIT_KEY}}\"\n      known_hosts: \"{known_hosts}\"\n"
    );
    let text = world.read("pipeline.yaml");
    let text = if text.contains("\nprofiles:\n") {
        text.replacen("\nprofiles:\n", &format!("\nprofiles:\n{profile}"), 1)
    } else {
        format!("{text}\nprofiles:\n{profile}")
    };
    world.write("pipeline.yaml", &text);
    world
}

fn there(test: &str) -> bool {
    needs::programs(test, &["ssh", "ssh-keygen"]) && needs::file(test, Path::new(SSHD))
}

fn set(tag: &str) -> [&str; 8] {
    [
        "gitops",
        "set",
        tag,
        "-e",
        "staging",
        "--profile",
        "ssh",
        "--any-tag",
    ]
}

#[test]
fn a_key_opens_the_repository() {
    if !there("gitops_ssh::a_key_opens_the_repository") {
        return;
    }
    let server = Server::start();
    let world = world(&server, &server.known_hosts());
    let key = server.text("user");
    let secrets = [("GIT_KEY", key.as_str())];
    let mut arguments = set("api=1.4.2").to_vec();
    arguments.push("--offline");
    let done = world.run_with(&arguments, &secrets).expect(0);
    assert!(!done.stderr.contains("PRIVATE KEY"), "{}", done.stderr);
    let served = server.path("gitops.git").display().to_string();
    let text = world.git(&["-C", &served, "show", "main:staging/api/deployment.yaml"]);
    assert!(text.contains(":1.4.2"), "{text}");

    // Somebody else is first: the edit is made again on what they wrote.
    let clone = server.path("clone").display().to_string();
    world.git(&["clone", "--quiet", &served, &clone]);
    fs::write(server.path("clone/README.md"), "theirs").unwrap();
    world.git(&["-C", &clone, "add", "README.md"]);
    world.git(&[
        "-C",
        &clone,
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "commit",
        "--quiet",
        "-m",
        "Theirs",
    ]);
    world.git(&["-C", &clone, "push", "--quiet", "origin", "HEAD:main"]);
    arguments[2] = "api=1.4.3";
    let _ = world.run_with(&arguments, &secrets).expect(0);
    let log = world.git(&["-C", &served, "log", "--format=%s", "main"]);
    assert!(log.contains("Theirs") && log.contains("1.4.3"), "{log}");
    let left: Vec<_> = fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("shipline-ssh-"))
        .filter(|name| {
            fs::read_to_string(std::env::temp_dir().join(name)).is_ok_and(|text| text == key)
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_unknown_host_and_a_wrong_key_are_refused() {
    if !there("gitops_ssh::an_unknown_host_and_a_wrong_key_are_refused") {
        return;
    }
    let server = Server::start();
    keygen(&server.path("other"));
    let mut arguments = set("api=1.4.2").to_vec();
    arguments.push("--offline");
    let known = world(&server, &server.known_hosts());
    let wrong = server.text("other");
    let ran = known.run_with(&arguments, &[("GIT_KEY", &wrong)]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    let mine = server.text("user");
    let _ = fs::remove_dir_all(server.path("gitops.git"));
    let unknown = world(
        &server,
        &server.known_hosts().replace("127.0.0.1", "127.0.0.2"),
    );
    let ran = unknown.run_with(&arguments, &[("GIT_KEY", &mine)]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("known_hosts"), "{}", ran.stderr);
}

#[test]
fn a_machine_without_ssh_says_so() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let folder = world.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let ran = world.run_with(
        &[
            "gitops",
            "set",
            "api=1.0.0",
            "-e",
            "staging",
            "--any-tag",
            "--offline",
            "--repository",
            "git@127.0.0.1:x.git",
        ],
        &[("PATH", &folder.display().to_string())],
    );
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains("Install the OpenSSH client")
            || ran.stderr.contains("install the OpenSSH client"),
        "{}",
        ran.stderr
    );
}
