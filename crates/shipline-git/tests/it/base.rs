//! Which commit a component is measured from.

use std::collections::BTreeMap;

use shipline_engine::error::ErrorClass;
use shipline_git::{Asked, BaseRequest, Deployed, DeployedTag, PullRequest, change_set};
use shipline_model::name::{CommitId, ComponentName, EnvironmentName};
use shipline_model::plan::{Base, BaseRule};

use crate::world::{World, shown};

fn component() -> ComponentName {
    ComponentName::new("svc").unwrap()
}

fn request() -> BaseRequest {
    BaseRequest {
        components: vec![component()],
        asked: Asked::Nothing,
        pull_request: None,
        deployed: BTreeMap::new(),
        push_before: None,
        default_branch: Some("main".to_owned()),
    }
}

fn deployed(tag: String) -> BTreeMap<ComponentName, Deployed> {
    let environment = EnvironmentName::new("staging").unwrap();
    BTreeMap::from([(
        component(),
        Deployed::Tag(DeployedTag {
            tag,
            prefix: "staging-".to_owned(),
            environment,
        }),
    )])
}

/// A pull request into these.
fn into(names: &[&str]) -> PullRequest {
    PullRequest {
        into: names.iter().map(ToString::to_string).collect(),
        tips: Vec::new(),
        head: None,
    }
}

fn tag(commit: &CommitId, suffix: &str) -> String {
    format!("staging-{}-20260102030405{suffix}", commit.short())
}

/// Base commit, rule and changes; or why there is none.
fn check(world: &World, request: &BaseRequest) -> Result<(CommitId, &'static str, String), String> {
    let changes = change_set(&world.open(), request).unwrap();
    let change = &changes.components[&component()];
    match &change.base {
        Base::Commit { id, rule } => {
            let rule = match rule {
                BaseRule::Asked => "asked",
                BaseRule::PullRequest => "pull request",
                BaseRule::PullRequestBase => "tip",
                BaseRule::Deployed { .. } => "deployed",
                BaseRule::PushBefore => "before",
                BaseRule::DefaultBranch { .. } => "default",
            };
            Ok((id.clone(), rule, shown(&change.paths)))
        }
        Base::Unknown { reason } => {
            assert!(change.paths.is_empty());
            Err(reason.clone())
        }
        Base::All => Err("all".to_owned()),
    }
}

fn unknown(world: &World, request: &BaseRequest, why: &str) {
    let reason = check(world, request).unwrap_err();
    assert!(reason.contains(why), "{reason}");
}

/// Four commits on main: a, b, c, d each change the file of their name.
fn line() -> (World, Vec<CommitId>) {
    let world = World::empty();
    let commits = ["a", "b", "c", "d"]
        .map(|name| {
            world.write(name, "1");
            world.commit(name)
        })
        .to_vec();
    (world, commits)
}

#[test]
fn the_first_rule_that_applies_gives_the_base() {
    let (world, commits) = line();
    let mut request = BaseRequest {
        asked: Asked::Base("HEAD~3".to_owned()),
        pull_request: Some(into(&["gone", "HEAD~2"])),
        deployed: deployed(tag(&commits[2], "")),
        push_before: Some(commits[0].to_string()),
        ..request()
    };
    assert_eq!(
        check(&world, &request),
        Ok((commits[0].clone(), "asked", "+b +c +d".to_owned()))
    );
    request.asked = Asked::Nothing;
    assert_eq!(
        check(&world, &request),
        Ok((commits[1].clone(), "pull request", "+c +d".to_owned()))
    );
    request.pull_request = None;
    assert_eq!(
        check(&world, &request),
        Ok((commits[2].clone(), "deployed", "+d".to_owned()))
    );
    request.deployed.clear();
    assert_eq!(
        check(&world, &request),
        Ok((commits[0].clone(), "before", "+b +c +d".to_owned()))
    );
    request.push_before = None;
    unknown(&world, &request, "on `main` itself");
    request.asked = Asked::All;
    assert_eq!(check(&world, &request), Err("all".to_owned()));
}

#[test]
fn a_branch_is_measured_from_where_it_left_the_default_branch() {
    let (world, commits) = line();
    world.git(&["checkout", "-q", "-b", "topic", commits[1].as_str()]);
    unknown(&world, &request(), "part of `main`");
    world.write("topic", "1");
    world.commit("topic");
    world.write("dirty", "1");
    let expected = Ok((commits[1].clone(), "default", "+dirty +topic".to_owned()));
    assert_eq!(check(&world, &request()), expected);

    // The first push of the branch, a force push of it, and an environment that is further than the branch.
    for request in [
        BaseRequest {
            push_before: Some("0".repeat(40)),
            ..request()
        },
        BaseRequest {
            push_before: Some("1".repeat(40)),
            ..request()
        },
        BaseRequest {
            push_before: Some(commits[3].to_string()),
            ..request()
        },
        BaseRequest {
            deployed: deployed(tag(&commits[3], "")),
            ..request()
        },
    ] {
        assert_eq!(check(&world, &request), expected, "{request:?}");
    }
    let none = BaseRequest {
        default_branch: Some("gone".to_owned()),
        ..request()
    };
    unknown(&world, &none, "`gone` is not in this clone");
    unknown(
        &world,
        &BaseRequest {
            default_branch: None,
            ..request()
        },
        "nothing is known",
    );
}

#[test]
fn what_is_deployed_at_the_head_means_nothing_to_do_and_dirt_is_still_seen() {
    let (world, commits) = line();
    let request = BaseRequest {
        deployed: deployed(tag(&commits[3], "")),
        ..request()
    };
    assert_eq!(
        check(&world, &request),
        Ok((commits[3].clone(), "deployed", String::new()))
    );
    world.write("a", "2");
    assert_eq!(check(&world, &request).unwrap().2, "~a");
}

#[test]
fn a_deployed_tag_that_cannot_be_trusted_hides_nothing() {
    let (world, commits) = line();
    let with = |tag: String| BaseRequest {
        deployed: deployed(tag),
        push_before: Some(commits[2].to_string()),
        ..request()
    };
    unknown(&world, &with(tag(&commits[2], "-dirty")), "in no commit");
    unknown(
        &world,
        &with("v1.2.3".to_owned()),
        "lacks the prefix `staging-`",
    );
    unknown(&world, &with("staging-".to_owned()), "names no commit");
    let lacking = tag(&commits[2], "").replacen("staging-", "", 1);
    unknown(&world, &with(lacking), "lacks the prefix `staging-`");
    // Nobody can tell what runs: what the push changed is not all that may have to be deployed.
    let mut untold = with(String::new());
    let why = "the manifest is broken".to_owned();
    untold.deployed = BTreeMap::from([(component(), Deployed::Unknown { why })]);
    unknown(&world, &untold, "the manifest is broken");
    unknown(
        &world,
        &with(tag(&CommitId::new("e".repeat(40)).unwrap(), "")),
        "not in this repository",
    );
    world.git(&["branch", commits[1].short(), commits[3].as_str()]);
    unknown(&world, &with(tag(&commits[1], "")), "also a branch");

    // History was rewritten under the environment.
    world.git(&["reset", "-q", "--hard", commits[1].as_str()]);
    world.write("e", "1");
    world.commit("other");
    let rewritten = BaseRequest {
        push_before: Some(commits[1].to_string()),
        ..with(tag(&commits[3], ""))
    };
    unknown(&world, &rewritten, "no ancestor of the head");
    world.git(&["checkout", "-q", "--detach"]);
    unknown(&world, &rewritten, "no ancestor of the head");
}

#[test]
fn a_forced_or_first_push_of_the_default_branch_is_affected() {
    let (world, commits) = line();
    world.git(&["reset", "-q", "--hard", commits[1].as_str()]);
    for (before, why) in [
        ("0".repeat(40), "first push"),
        (commits[3].to_string(), "force push"),
        ("1".repeat(40), "force push or shallow"),
        (commits[1].to_string(), "its own predecessor"),
    ] {
        unknown(
            &world,
            &BaseRequest {
                push_before: Some(before),
                ..request()
            },
            why,
        );
    }
}

#[test]
fn a_shallow_clone_is_affected_and_says_how_to_deepen() {
    let (world, commits) = line();
    let clone = world.beside("clone");
    let url = format!("file://{}", world.path().display());
    world.git(&["clone", "-q", "--depth", "1", &url, clone.to_str().unwrap()]);
    let clone = world.at(clone);
    for request in [
        BaseRequest {
            deployed: deployed(tag(&commits[1], "")),
            ..request()
        },
        BaseRequest {
            pull_request: Some(into(&[commits[1].as_str()])),
            ..request()
        },
    ] {
        unknown(&clone, &request, "fetch-depth: 0");
    }
    let asked = BaseRequest {
        asked: Asked::Base(commits[1].to_string()),
        ..request()
    };
    let error = change_set(&clone.open(), &asked).unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert!(
        error
            .hints
            .iter()
            .any(|hint| hint.contains("fetch-depth: 0"))
    );
}

/// A pull request that changes `topic`, merged into a main branch that went on; with its commit.
fn merged() -> (World, Vec<CommitId>, CommitId) {
    let (world, commits) = line();
    world.git(&["checkout", "-q", "-b", "topic", commits[1].as_str()]);
    world.write("topic", "1");
    let topic = world.commit("topic");
    world.git(&["checkout", "-q", "-b", "merge", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "merge", "topic"]);
    (world, commits, topic)
}

/// As actions/checkout does it: one commit by its ID, this deep, without branches.
fn checkout(world: World, commit: &CommitId, depth: &str) -> World {
    let url = format!("file://{}", world.path().display());
    let clone = world.beside("clone");
    world.git(&["init", "-q", "-b", "main", clone.to_str().unwrap()]);
    world.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let clone = world.at(clone);
    clone.git(&["fetch", "-q", "--depth", depth, &url, commit.as_str()]);
    clone.git(&["checkout", "-q", "--detach", "FETCH_HEAD"]);
    clone
}

#[test]
fn a_pull_request_is_measured_in_a_clone_that_is_two_commits_deep() {
    let (world, commits, topic) = merged();
    let merge = world.rev("HEAD");
    let clone = checkout(world, &merge, "2");
    let with = |tips: &[&CommitId], head: Option<&CommitId>| BaseRequest {
        pull_request: Some(PullRequest {
            tips: tips.iter().map(ToString::to_string).collect(),
            head: head.map(ToString::to_string),
            ..into(&["origin/main", "main"])
        }),
        ..request()
    };
    let expected = Ok((commits[3].clone(), "pull request", "+topic".to_owned()));
    // What the event calls the base, or what the merge was made from.
    assert_eq!(check(&clone, &with(&[&commits[3]], None)), expected);
    assert_eq!(check(&clone, &with(&[], Some(&topic))), expected);
    // The event is older than the merge.
    assert_eq!(check(&clone, &with(&[&commits[2]], Some(&topic))), expected);
    // Somebody else's merge, and an unknown base: nothing is known.
    unknown(
        &clone,
        &with(&[&commits[2]], Some(&commits[0])),
        "fetch-depth: 0",
    );
}

#[test]
fn without_a_common_history_a_pull_request_is_measured_from_the_tip_of_its_base() {
    let (world, commits, topic) = merged();
    let url = format!("file://{}", world.path().display());
    let clone = checkout(world, &topic, "1");
    let request = BaseRequest {
        pull_request: Some(PullRequest {
            tips: vec![commits[3].to_string()],
            ..into(&["origin/main"])
        }),
        ..request()
    };
    unknown(&clone, &request, "fetch-depth: 0");
    clone.git(&["fetch", "-q", "--depth=1", &url, commits[3].as_str()]);
    assert_eq!(
        check(&clone, &request),
        Ok((commits[3].clone(), "tip", "-c -d +topic".to_owned()))
    );
}

#[test]
fn components_have_bases_of_their_own() {
    let (world, commits) = line();
    let other = ComponentName::new("other").unwrap();
    let mut request = BaseRequest {
        deployed: deployed(tag(&commits[0], "")),
        ..request()
    };
    request.components.push(other.clone());
    let environment = EnvironmentName::new("staging").unwrap();
    let tag = format!("{}-20260102030405", commits[2].short());
    request.deployed.insert(
        other.clone(),
        Deployed::Tag(DeployedTag {
            tag,
            prefix: String::new(),
            environment,
        }),
    );
    let changes = change_set(&world.open(), &request).unwrap();
    assert_eq!(shown(&changes.components[&component()].paths), "+b +c +d");
    assert_eq!(shown(&changes.components[&other].paths), "+d");
}
