//! What can go wrong between here, the registry and the GitOps repository, met by whole runs: each either goes through by trying
//! again, or says what stopped it; nothing wrong is ever tagged, and the next run completes.

use shipline_testkit::ecr::{Effect, FakeEcr, Fault, LoggedRequest, When};
use shipline_testkit::git_server::PushFault;
use shipline_testkit::remote::RemoteRegistry;
use shipline_testkit::tiny::RemoteTiny;
use shipline_testkit::world::Ran;

/// One service alone: the fewest requests that a whole run has.
const COMMAND: &[&str] = &[
    "pipeline",
    "backend",
    "--component",
    "api",
    "--profile",
    "ci",
];

fn tiny() -> RemoteTiny {
    RemoteTiny::ecr(env!("CARGO_BIN_EXE_shipline"))
}

fn fake(tiny: &RemoteTiny) -> &FakeEcr {
    match &tiny.registry {
        RemoteRegistry::Ecr(ecr) => ecr.fake(),
        RemoteRegistry::Docker(_) => unreachable!("this is ECR"),
    }
}

fn refusal(status: u16) -> Effect {
    Effect::Refuse {
        status,
        retry_after: None,
    }
}

/// A changed service, and what its run does.
fn run(tiny: &RemoteTiny, edition: usize) -> Ran {
    let text = format!("edition {edition} of ");
    tiny.world.write("lib/greeting.txt", &text);
    tiny.world.commit("Edit");
    tiny.world.run(COMMAND)
}

/// The newest commit is deployed, by one commit, from a registry in which all is right.
#[track_caller]
fn assert_deployed(tiny: &RemoteTiny, commits: usize, what: &str) {
    tiny.assert_nothing_wrong();
    let head = tiny.world.git(&["rev-parse", "HEAD"]);
    let image = tiny.gitops.declared(&tiny.world, "api");
    let (name, tag) = image.rsplit_once(':').unwrap();
    assert!(tag.starts_with(&head[..8]), "{what}: {image}");
    assert!(name.ends_with("/api"), "{what}: {image}");
    let tags = tiny.registry.tags();
    assert!(tags.contains_key(&format!("api:{tag}")), "{what}: {image}");
    assert_eq!(tiny.gitops.commits(&tiny.world), commits + 1, "{what}");
}

/// Each request of a run in turn meets the fault. Gives what the runs that failed printed.
fn each_request_meets(effect: &Effect) -> Vec<String> {
    let tiny = tiny();
    let fake = fake(&tiny);
    let _ = run(&tiny, 0).expect(0);
    fake.reset();
    let _ = run(&tiny, 1).expect(0);
    let count = fake.log().len();
    assert!(count > 15, "{count} requests are a run");
    let mut failed = Vec::new();
    for number in 0..count {
        let what = format!("{effect:?} in request {number} of {count}");
        let (commits, tags) = (tiny.gitops.commits(&tiny.world), tiny.registry.tags());
        fake.reset();
        fake.arm(Fault {
            when: When::Request(number as u64),
            effect: effect.clone(),
        });
        let ran = run(&tiny, 2 + number);
        tiny.assert_nothing_wrong();
        if ran.code != 0 {
            assert_eq!(ran.code, 1, "{what}: {}", ran.stderr);
            assert_eq!(tiny.gitops.commits(&tiny.world), commits, "{what}");
            failed.push(ran.stderr);
            let _ = tiny.world.run(COMMAND).expect(0);
        }
        assert_deployed(&tiny, commits, &what);
        assert_eq!(tiny.registry.tags().len(), tags.len() + 1, "{what}");
    }
    failed
}

#[test]
fn a_connection_that_is_cut_anywhere_in_a_run_is_survived() {
    assert_eq!(each_request_meets(&Effect::Cut), Vec::<String>::new());
}

#[test]
fn an_answer_that_is_lost_anywhere_in_a_run_is_survived() {
    assert_eq!(each_request_meets(&Effect::CutAfter), Vec::<String>::new());
}

#[test]
fn a_token_that_expires_anywhere_in_a_run_is_renewed() {
    assert_eq!(
        each_request_meets(&Effect::ExpireToken),
        Vec::<String>::new()
    );
}

#[test]
fn a_wrong_digest_anywhere_in_a_run_is_said_or_without_effect() {
    let failed = each_request_meets(&Effect::WrongDigest);
    assert!(!failed.is_empty(), "a wrong digest is seen");
    for text in failed {
        assert!(text.contains("sha256:0000000000"), "{text}");
    }
}

#[test]
fn bursts_of_refusals_are_waited_out_wherever_they_fall() {
    let tiny = tiny();
    let fake = fake(&tiny);
    for (edition, status) in [429, 503].into_iter().enumerate() {
        let commits = tiny.gitops.commits(&tiny.world);
        fake.reset();
        fake.arm(Fault {
            when: When::Next(3),
            effect: refusal(status),
        });
        for target in ["/blobs/uploads/", "/manifests/", "#PutImage"] {
            fake.arm(Fault {
                when: When::Matching {
                    method: if target.starts_with('#') { "" } else { "PUT" }.to_owned(),
                    target: target.to_owned(),
                    times: 2,
                },
                effect: refusal(status),
            });
        }
        let _ = run(&tiny, edition).expect(0);
        // The API says 400 and `ThrottlingException`, and the same number where a repository has no lifecycle policy.
        let refused = |asked: &&LoggedRequest| {
            let throttled = asked.status == 400 && !asked.target.ends_with("#GetLifecyclePolicy");
            throttled || asked.status == status
        };
        let refused = fake.log().iter().filter(refused).count();
        assert_eq!(refused, 9, "{status}: {:#?}", fake.log());
        assert_deployed(&tiny, commits, &format!("a burst of {status}"));
    }
}

#[test]
fn a_registry_that_goes_on_refusing_fails_the_run_and_says_why() {
    let tiny = tiny();
    let fake = fake(&tiny);
    let _ = run(&tiny, 0).expect(0);
    let (commits, tags) = (tiny.gitops.commits(&tiny.world), tiny.registry.tags());
    let mut edition = 0;
    for (status, code) in [(400, 1), (403, 3)] {
        for target in ["/blobs/uploads/", "/manifests/"] {
            edition += 1;
            fake.reset();
            fake.arm(Fault {
                when: When::Matching {
                    method: "PUT".to_owned(),
                    target: target.to_owned(),
                    times: u32::MAX,
                },
                effect: refusal(status),
            });
            let ran = run(&tiny, edition).expect(code);
            for wanted in [&status.to_string(), "push", "/api"] {
                assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
            }
            tiny.assert_nothing_wrong();
            assert_eq!(tiny.registry.tags(), tags, "{}", ran.stderr);
            assert_eq!(tiny.gitops.commits(&tiny.world), commits, "{}", ran.stderr);
        }
    }
    fake.reset();
    let _ = tiny.world.run(COMMAND).expect(0);
    assert_deployed(&tiny, commits, "after the refusals");
}

#[test]
fn what_a_git_server_does_to_a_push_makes_no_second_commit() {
    let tiny = tiny();
    let mut pushes = 0;
    for (edition, fault) in [
        PushFault::AnswerLost,
        PushFault::Lost,
        PushFault::Status(503),
        PushFault::Status(429),
    ]
    .into_iter()
    .enumerate()
    {
        let commits = tiny.gitops.commits(&tiny.world);
        // Its first push meets the fault, and where that push was not taken, the second one as well.
        let first = pushes;
        tiny.gitops.server.on_push(move |number| {
            if number <= first + 2 {
                fault
            } else {
                PushFault::None
            }
        });
        let _ = run(&tiny, edition).expect(0);
        pushes = tiny.gitops.server.pushes();
        assert_deployed(&tiny, commits, &format!("{fault:?}"));
    }
}

#[test]
fn a_git_server_that_refuses_fails_the_run_and_the_next_one_completes() {
    let tiny = tiny();
    let commits = tiny.gitops.commits(&tiny.world);
    tiny.gitops.server.on_push(|_| PushFault::Status(403));
    let ran = run(&tiny, 0).expect(3);
    for wanted in ["403", &tiny.gitops.url()] {
        assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
    }
    tiny.assert_nothing_wrong();
    let tags = tiny.registry.tags();
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert_eq!(tiny.gitops.commits(&tiny.world), commits);
    tiny.gitops.server.on_push(|_| PushFault::None);
    let _ = tiny.world.run(COMMAND).expect(0);
    assert_deployed(&tiny, commits, "after the refusal");
    assert_eq!(tiny.registry.tags(), tags, "the same build keeps its tag");
}
