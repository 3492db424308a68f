#![allow(clippy::disallowed_methods)]

use std::process::{Child, Command, Stdio};

use shipline_engine::backend::GitopsRepo;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_gitops::{LocalGitops, LocalSettings};
use shipline_testkit::contract::gitops::{deployment, manifest};

use crate::support::{Bare, file, messages, settings};

const REPOSITORY: &str = "SHIPLINE_TEST_REPOSITORY";
const COMPONENT: &str = "SHIPLINE_TEST_COMPONENT";
const FAULT: &str = "SHIPLINE_TEST_FAULT";

/// Seconds: less than a lock of somebody else's is given.
const DEADLINE: &str = "SHIPLINE_TEST_DEADLINE";

/// This test is a process of the others: it deploys where it is told to, and is nothing where it is told nothing.
#[test]
fn writer() {
    let Ok(path) = std::env::var(REPOSITORY) else {
        return;
    };
    let component = std::env::var(COMPONENT).unwrap();
    let faults = match std::env::var(FAULT) {
        Ok(point) => Faults::kill_at(point.parse().unwrap(), 1),
        Err(_) => Faults::none(),
    };
    let usual = settings(path.as_ref());
    let repository = LocalGitops::new(LocalSettings {
        faults,
        deadline: match std::env::var(DEADLINE) {
            Ok(seconds) => std::time::Duration::from_secs(seconds.parse().unwrap()),
            Err(_) => usual.deadline,
        },
        ..usual
    });
    let ours = deployment(&format!("d-{component}"), &[(&component, "new")]);
    repository.deploy(&ours).unwrap();
}

fn start(bare: &Bare, component: &str, fault: Option<FaultPoint>) -> Child {
    command(bare, component, fault).spawn().unwrap()
}

fn hasty(bare: &Bare, component: &str) -> Child {
    let mut hasty = command(bare, component, None);
    hasty.env(DEADLINE, "20").spawn().unwrap()
}

fn command(bare: &Bare, component: &str, fault: Option<FaultPoint>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "processes::writer", "--nocapture"])
        .env(REPOSITORY, bare.path())
        .env(COMPONENT, component)
        .stdout(Stdio::null());
    if let Some(fault) = fault {
        command.env(FAULT, fault.word());
    }
    command
}

fn path(component: &str) -> String {
    format!("staging/{component}/deployment.yaml")
}

fn bare(components: &[String]) -> Bare {
    let files: Vec<(String, String)> = components
        .iter()
        .map(|component| (path(component), manifest(component, "old")))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(p, t)| (p.as_str(), t.as_str()))
        .collect();
    Bare::with(&files)
}

/// All commits, those of lost races included: each attempt leaves one.
fn commits(git: &git2::Repository) -> usize {
    let odb = git.odb().unwrap();
    let mut count = 0;
    odb.foreach(|id| {
        let (_, kind) = odb.read_header(*id).unwrap();
        count += usize::from(kind == git2::ObjectType::Commit);
        true
    })
    .unwrap();
    count
}

#[test]
fn thirty_two_processes_write_at_once() {
    let components: Vec<String> = (0..32).map(|n| format!("c{n}")).collect();
    let bare = bare(&components);
    let started = std::time::Instant::now();
    let mut children: Vec<Child> = components
        .iter()
        .map(|component| start(&bare, component, None))
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let took = started.elapsed();
    let git = bare.git();
    println!("32 processes: {took:?}, {} attempts", commits(&git) - 1);
    for component in &components {
        assert_eq!(
            file(&git, &path(component)),
            Some(manifest(component, "new"))
        );
    }
    let messages = messages(&git);
    assert_eq!(messages.len(), 33);
    for component in &components {
        let id = format!("Deploy-Id: d-{component}\n");
        assert_eq!(messages.iter().filter(|m| m.contains(&id)).count(), 1);
    }
}

#[test]
fn killed_at_each_point_the_next_one_completes() {
    for point in [
        FaultPoint::GitopsCommit,
        FaultPoint::GitopsLocked,
        FaultPoint::GitopsRef,
    ] {
        let bare = bare(&["web".to_owned()]);
        let killed = start(&bare, "web", Some(point)).wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&killed),
            Some(9)
        );
        // The next ones do not wait for the dead one's lock, and one of them commits.
        let mut next: Vec<Child> = (0..4).map(|_| hasty(&bare, "web")).collect();
        for child in &mut next {
            assert!(child.wait().unwrap().success(), "{point}");
        }
        let git = bare.git();
        assert_eq!(file(&git, &path("web")), Some(manifest("web", "new")));
        assert_eq!(messages(&git).len(), 2, "{point}");
    }
}

#[test]
fn many_processes_find_one_stale_lock() {
    let components: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let bare = bare(&components);
    let lock = bare.path().join("refs/heads/main.lock");
    let left = std::fs::File::create(&lock).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    left.set_modified(old).unwrap();
    let mut children: Vec<Child> = components
        .iter()
        .map(|component| start(&bare, component, None))
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let git = bare.git();
    for component in &components {
        assert_eq!(
            file(&git, &path(component)),
            Some(manifest(component, "new"))
        );
    }
    assert_eq!(messages(&git).len(), 13);
    let refs = std::fs::read_dir(lock.parent().unwrap()).unwrap();
    let left: Vec<_> = refs.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["main"], "nothing is left beside the branch");
}
