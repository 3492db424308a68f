use super::*;

fn started_by(variables: &[(&str, &str)]) -> Trigger {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    trigger(&variables)
}

fn main_is_pushed(variables: &[(&str, &str)]) {
    let trigger = started_by(variables);
    assert!(
        matches!(&trigger, Trigger::Push { branch, .. } if branch == "main"),
        "{variables:?}: {trigger:?}"
    );
}

fn pull_request(variables: &[(&str, &str)]) -> PullRequest {
    let trigger = started_by(variables);
    let Trigger::PullRequest(found) = trigger else {
        panic!("{variables:?}: {trigger:?}");
    };
    found
}

fn into_main(variables: &[(&str, &str)]) {
    let found = pull_request(variables).branch;
    assert_eq!(found, BaseBranch::Named("main".to_owned()), "{variables:?}");
}

fn is_other(variables: &[(&str, &str)]) {
    let trigger = started_by(variables);
    assert!(
        matches!(trigger, Trigger::Other { .. }),
        "{variables:?}: {trigger:?}"
    );
}

const GITHUB: (&str, &str) = ("GITHUB_ACTIONS", "true");
const GITLAB: (&str, &str) = ("GITLAB_CI", "true");
const BUILDKITE: (&str, &str) = ("BUILDKITE", "true");
const CIRCLECI: (&str, &str) = ("CIRCLECI", "true");
const JENKINS: (&str, &str) = ("JENKINS_URL", "https://ci.example/");
const AZURE: (&str, &str) = ("TF_BUILD", "True");
const BITBUCKET: (&str, &str) = ("BITBUCKET_BUILD_NUMBER", "7");
const COMMIT: &str = "1234567890123456789012345678901234567890";

#[test]
fn only_pushes_to_branches_and_people_are_asked_for_deliveries() {
    let event = |name: &'static str| started_by(&[GITHUB, ("GITHUB_EVENT_NAME", name)]);
    assert_eq!(started_by(&[]), Trigger::Local);
    assert_eq!(event("workflow_dispatch"), Trigger::Manual);
    for name in ["release", "schedule", "issue_comment", "workflow_run", ""] {
        is_other(&[GITHUB, ("GITHUB_EVENT_NAME", name)]);
    }
    let push = |kind: &'static str| {
        started_by(&[
            GITHUB,
            ("GITHUB_EVENT_NAME", "push"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_REF_TYPE", kind),
        ])
    };
    assert!(matches!(push("branch"), Trigger::Push { branch, .. } if branch == "main"));
    assert!(matches!(push("tag"), Trigger::Other { .. }));
}

#[test]
fn pushes_are_known_in_every_ci() {
    main_is_pushed(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_BRANCH", "main"),
    ]);
    main_is_pushed(&[
        BUILDKITE,
        ("BUILDKITE_SOURCE", "webhook"),
        ("BUILDKITE_PULL_REQUEST", "false"),
        ("BUILDKITE_BRANCH", "main"),
    ]);
    main_is_pushed(&[CIRCLECI, ("CIRCLE_BRANCH", "main")]);
    main_is_pushed(&[JENKINS, ("BRANCH_NAME", "main")]);
    main_is_pushed(&[
        AZURE,
        ("BUILD_REASON", "IndividualCI"),
        ("BUILD_SOURCEBRANCH", "refs/heads/main"),
    ]);
    main_is_pushed(&[BITBUCKET, ("BITBUCKET_BRANCH", "main")]);
    let before = started_by(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_COMMIT_BEFORE_SHA", COMMIT),
    ]);
    assert!(matches!(before, Trigger::Push { before: Some(before), .. } if before == COMMIT));
}

#[test]
fn people_start_runs_in_every_ci_that_tells() {
    for started in [
        &[GITLAB, ("CI_PIPELINE_SOURCE", "web")],
        &[BUILDKITE, ("BUILDKITE_SOURCE", "ui")],
        &[AZURE, ("BUILD_REASON", "Manual")],
    ] {
        assert_eq!(started_by(started), Trigger::Manual, "{started:?}");
    }
}

#[test]
fn pull_requests_are_known_in_every_ci() {
    for event in ["pull_request", "pull_request_target", "pull_request_review"] {
        into_main(&[
            GITHUB,
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_BASE_REF", "main"),
        ]);
    }
    into_main(&[
        GITHUB,
        ("GITHUB_EVENT_NAME", "some_new_event"),
        ("GITHUB_REF", "refs/pull/7/merge"),
        ("GITHUB_BASE_REF", "main"),
    ]);
    let queue = pull_request(&[
        GITHUB,
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF_NAME", "gh-readonly-queue/main/pr-7-1234567"),
    ]);
    assert_eq!(queue.branch, BaseBranch::Untold);
    let target = ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main");
    into_main(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
        target,
    ]);
    into_main(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "parent_pipeline"),
        ("CI_MERGE_REQUEST_IID", "7"),
        target,
    ]);
    into_main(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "external_pull_request_event"),
        ("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME", "main"),
    ]);
    into_main(&[
        BUILDKITE,
        ("BUILDKITE_SOURCE", "ui"),
        ("BUILDKITE_PULL_REQUEST", "7"),
        ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", "main"),
    ]);
    into_main(&[BUILDKITE, ("BUILDKITE_MERGE_QUEUE_BASE_BRANCH", "main")]);
    into_main(&[JENKINS, ("CHANGE_ID", "7"), ("CHANGE_TARGET", "main")]);
    into_main(&[JENKINS, ("ghprbPullId", "7"), ("ghprbTargetBranch", "main")]);
    into_main(&[
        JENKINS,
        ("gitlabMergeRequestIid", "7"),
        ("gitlabTargetBranch", "main"),
    ]);
    into_main(&[
        JENKINS,
        ("GERRIT_CHANGE_NUMBER", "5"),
        ("GERRIT_BRANCH", "main"),
    ]);
    into_main(&[
        JENKINS,
        ("BITBUCKET_PULL_REQUEST_ID", "5"),
        ("BITBUCKET_TARGET_BRANCH", "main"),
    ]);
    for (told, branch) in [
        ("PULL_NUMBER", "PULL_BASE_REF"),
        ("DRONE_PULL_REQUEST", "DRONE_TARGET_BRANCH"),
        ("TRAVIS_PULL_REQUEST", "TRAVIS_BRANCH"),
        ("ZUUL_CHANGE", "ZUUL_BRANCH"),
        (
            "bamboo_repository_pr_key",
            "bamboo_repository_pr_targetBranch",
        ),
    ] {
        into_main(&[(told, "7"), (branch, "main")]);
    }
    into_main(&[
        ("CODEBUILD_WEBHOOK_EVENT", "PULL_REQUEST_UPDATED"),
        ("CODEBUILD_WEBHOOK_BASE_REF", "refs/heads/main"),
    ]);
    let travis = [("CI", "true"), ("TRAVIS_PULL_REQUEST", "false")];
    assert_eq!(started_by(&travis), Trigger::Unknown);
    // Somebody asks for the branch to be merged.
    into_main(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_BRANCH", "feature"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_OPEN_MERGE_REQUESTS", "g/p!7"),
    ]);
    into_main(&[
        AZURE,
        ("BUILD_REASON", "PullRequest"),
        ("SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/main"),
    ]);
    into_main(&[
        AZURE,
        ("BUILD_REASON", "Manual"),
        ("BUILD_SOURCEBRANCH", "refs/pull/7/merge"),
        ("SYSTEM_PULLREQUEST_TARGETBRANCH", "main"),
    ]);
    into_main(&[
        BITBUCKET,
        ("BITBUCKET_PR_ID", "7"),
        ("BITBUCKET_PR_DESTINATION_BRANCH", "main"),
    ]);
    for told in [
        ("CIRCLE_PULL_REQUEST", "https://github.com/o/r/pull/7"),
        ("CIRCLE_PR_NUMBER", "7"),
        ("CIRCLE_BRANCH", "pull/7"),
    ] {
        assert_eq!(pull_request(&[CIRCLECI, told]).branch, BaseBranch::Untold);
    }
}

#[test]
fn where_a_merge_request_left_its_branch_is_measured_from_and_not_trusted() {
    let old = "0123456789012345678901234567890123456789";
    let request = pull_request(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ("CI_MERGE_REQUEST_DIFF_BASE_SHA", old),
    ]);
    assert_eq!(request.trusted_names(), ["refs/remotes/origin/main"]);
    assert_eq!(
        request.names("main"),
        [old, "refs/remotes/origin/main", "refs/heads/main"]
    );
}

#[test]
fn tags_and_schedules_are_no_pushes() {
    is_other(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_TAG", "v1"),
    ]);
    is_other(&[
        GITLAB,
        ("CI_PIPELINE_SOURCE", "schedule"),
        ("CI_COMMIT_BRANCH", "main"),
    ]);
    is_other(&[
        BUILDKITE,
        ("BUILDKITE_SOURCE", "schedule"),
        ("BUILDKITE_BRANCH", "main"),
    ]);
    is_other(&[
        BUILDKITE,
        ("BUILDKITE_SOURCE", "webhook"),
        ("BUILDKITE_TAG", "v1"),
    ]);
    is_other(&[CIRCLECI, ("CIRCLE_TAG", "v1")]);
    is_other(&[JENKINS, ("TAG_NAME", "v1"), ("BRANCH_NAME", "v1")]);
    is_other(&[JENKINS, ("GIT_BRANCH", "origin/main")]);
    is_other(&[
        AZURE,
        ("BUILD_REASON", "Schedule"),
        ("BUILD_SOURCEBRANCH", "refs/heads/main"),
    ]);
    is_other(&[
        AZURE,
        ("BUILD_REASON", "IndividualCI"),
        ("BUILD_SOURCEBRANCH", "refs/tags/v1"),
    ]);
    is_other(&[BITBUCKET, ("BITBUCKET_TAG", "v1")]);
}

#[test]
fn a_ci_that_nobody_knows_is_no_person() {
    for mark in [
        ("CI", "true"),
        ("CI", "woodpecker"),
        ("TEAMCITY_VERSION", "2025.1"),
        ("bamboo_buildKey", "A-B-1"),
        ("GO_PIPELINE_NAME", "web"),
    ] {
        assert_eq!(started_by(&[mark]), Trigger::Unknown, "{mark:?}");
    }
    for mark in [("CI", "false"), ("CI", ""), ("CI", "0")] {
        assert_eq!(started_by(&[mark]), Trigger::Local, "{mark:?}");
    }
}

#[test]
fn a_pull_request_of_one_ci_counts_in_another() {
    // A runner in a runner: the outer variables are still there.
    let found = pull_request(&[
        GITHUB,
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF_NAME", "main"),
        GITLAB,
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
    ]);
    assert_eq!(found.called, "merge request");
}

#[test]
fn the_payload_tells_the_base_and_what_comes_of_a_pull_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    let with = |event: &'static str, payload: &str| {
        std::fs::write(&path, payload).unwrap();
        started_by(&[
            GITHUB,
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_EVENT_PATH", &path.display().to_string()),
        ])
    };
    let base = |trigger: Trigger| {
        let Trigger::PullRequest(found) = trigger else {
            panic!("{trigger:?}");
        };
        (found.branch, found.commits)
    };
    let told = (
        BaseBranch::Named("main".to_owned()),
        vec![COMMIT.to_owned()],
    );
    let payload =
        format!(r#"{{"pull_request": {{"base": {{"ref": "main", "sha": "{COMMIT}"}}}}}}"#);
    assert_eq!(base(with("pull_request", &payload)), told);
    let payload =
        format!(r#"{{"merge_group": {{"base_ref": "refs/heads/main", "base_sha": "{COMMIT}"}}}}"#);
    assert_eq!(base(with("merge_group", &payload)), told);
    let payload = r#"{"workflow_run": {"event": "pull_request", "pull_requests": []}}"#;
    assert_eq!(
        base(with("workflow_run", payload)),
        (BaseBranch::Untold, Vec::new())
    );
    let payload = r#"{"issue": {"pull_request": {}}}"#;
    assert_eq!(base(with("issue_comment", payload)).0, BaseBranch::Untold);
    let push = with("push", &format!(r#"{{"before": "{COMMIT}"}}"#));
    assert!(matches!(push, Trigger::Push { before: Some(before), .. } if before == COMMIT));
    // A payload that is none takes nothing away.
    assert_eq!(base(with("pull_request", "[")).1, Vec::<String>::new());
}

#[test]
fn an_odd_base_names_nothing_that_is_trusted() {
    for odd in [
        "main^{/fix}",
        "a..b",
        "-x",
        "HEAD@{1}",
        "a b",
        "a/",
        ".a",
        "@",
    ] {
        let found = pull_request(&[
            GITHUB,
            ("GITHUB_EVENT_NAME", "pull_request"),
            ("GITHUB_BASE_REF", odd),
        ]);
        assert_eq!(found.branch, BaseBranch::Odd(odd.to_owned()));
        assert_eq!(found.trusted_names(), Vec::<String>::new());
    }
    // A local branch may be the pull request itself, and a revision that is no hash may name anything.
    let found = pull_request(&[
        BITBUCKET,
        ("BITBUCKET_PR_ID", "7"),
        ("BITBUCKET_PR_DESTINATION_BRANCH", "main"),
        ("BITBUCKET_PR_DESTINATION_COMMIT", "HEAD"),
    ]);
    assert_eq!(found.trusted_names(), ["refs/remotes/origin/main"]);
    assert_eq!(
        found.names("main"),
        ["refs/remotes/origin/main", "refs/heads/main"]
    );
}
