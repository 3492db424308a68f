use shipline_engine::backend::{Pinning, SetImage, Target};
use shipline_gitops::edit::{EditPlan, plan};
use shipline_gitops::files::Memory;
use shipline_gitops::folder::Manifest;
use shipline_gitops::{EditRefused, RefusedKind};
use shipline_model::name::{ComponentName, Digest, EnvironmentName, ImageName, Tag};

pub(crate) fn target(container: &str, repository: &str) -> Target {
    let component = ComponentName::new("web").unwrap();
    Target {
        name: container.into(),
        repository: repository.into(),
        ..Target::new(component, EnvironmentName::new("staging").unwrap())
    }
}

pub(crate) fn image(tag: &str) -> SetImage {
    SetImage {
        target: target("web", "web"),
        name: None,
        tag: Tag::new(tag).unwrap(),
        digest: None,
        pinning: Pinning::AsBefore,
        source_commit: None,
    }
}

fn manifests(folder: &str, files: &[(&str, &[u8])]) -> Vec<Manifest> {
    files
        .iter()
        .map(|(name, bytes)| Manifest {
            path: format!("{folder}{name}"),
            bytes: bytes.to_vec(),
        })
        .collect()
}

pub(crate) fn run(
    images: &[SetImage],
    files: &[(&str, &[u8])],
) -> Result<EditPlan, Vec<EditRefused>> {
    run_around(images, files, &[])
}

/// `around` are files elsewhere in the repository.
pub(crate) fn run_around(
    images: &[SetImage],
    files: &[(&str, &[u8])],
    around: &[(&str, &[u8])],
) -> Result<EditPlan, Vec<EditRefused>> {
    let mut all = manifests("staging/web/", files);
    all.extend(manifests("", around));
    plan(images, &Memory::new(all, Vec::new()))
}

/// The tag `new` goes in and nothing else changes.
fn check(text: &str, expected: &str) {
    let done = run(&[image("new")], &[("deployment.yaml", text.as_bytes())]).unwrap();
    assert!(!done.changes.is_empty(), "{text}");
    let file = &done.files["staging/web/deployment.yaml"];
    assert_eq!(std::str::from_utf8(file).unwrap(), expected);
}

/// `at` is the line that the error names.
fn refused(files: &[(&str, &[u8])], at: &str, part: &str) {
    let errors = run(&[image("new")], files).unwrap_err();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(
        text.starts_with("set the image of web in staging: "),
        "{text}"
    );
    assert!(text.contains(at) && text.contains(part), "{text}");
    assert!(!errors[0].remedy.ends_with('.'), "{}", errors[0].remedy);
}

/// The cause and the remedy say these.
pub(crate) fn refused_around(
    files: &[(&str, &str)],
    around: &[(&str, &str)],
    cause: &str,
    remedy: &str,
) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, t)| (*n, t.as_bytes())).collect();
    let around: Vec<(&str, &[u8])> = around.iter().map(|(n, t)| (*n, t.as_bytes())).collect();
    let errors = run_around(&[image("new")], &files, &around).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].cause.contains(cause), "{:?}", errors[0]);
    assert!(errors[0].remedy.contains(remedy), "{:?}", errors[0]);
    assert!(!errors[0].remedy.ends_with('.'), "{}", errors[0].remedy);
}

fn refused_text(text: &str, at: &str, part: &str) {
    refused(&[("deployment.yaml", text.as_bytes())], at, part);
}

/// A Deployment whose containers are these lines.
pub(crate) fn deployment(containers: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n      containers:\n{containers}"
    )
}

fn check_containers(containers: &str, expected: &str) {
    check(&deployment(containers), &deployment(expected));
}

#[test]
fn one_value_of_every_form() {
    let check = |old: &str, new: &str| {
        let line = |value: &str| format!("      - name: web\n        image: {value}\n");
        check_containers(&line(old), &line(new));
    };
    check("web:old", "web:new");
    check("r.io/team/web:old", "r.io/team/web:new");
    check("localhost:5000/web:old", "localhost:5000/web:new");
    check("localhost:5000/web", "localhost:5000/web:new");
    check("r.io/web", "r.io/web:new");
    check("\"r.io/web:\"", "\"r.io/web:new\"");
    check("'r.io/web:'", "'r.io/web:new'");
    check("r.io/web:   # half", "r.io/web:new   # half");
    check("r.io/web:", "r.io/web:new");
    check("r.io/web:staging-", "r.io/web:new");
    check("r.io/web:-20250101000000", "r.io/web:new");
    check("'r.io/web:old'", "'r.io/web:new'");
    check("\"r.io/web:old\" # c", "\"r.io/web:new\" # c");
    check("r.io/web:old # c: 'x' \"y\"", "r.io/web:new # c: 'x' \"y\"");
    check("r.io/web:old   \t", "r.io/web:new   \t");
    check("   r.io/web:old", "   r.io/web:new");
    check("\tr.io/web:old", "\tr.io/web:new");
    check("\t \"r.io/web:old\"\t# c", "\t \"r.io/web:new\"\t# c");
    check("\tr.io/web:", "\tr.io/web:new");
    check("!!str r.io/web:old", "!!str r.io/web:new");
    check(">-\n          r.io/web:old", ">-\n          r.io/web:new");
    check("|\n          r.io/web:old\n", "|\n          r.io/web:new\n");
    check(
        "\n          r.io/web:old # c",
        "\n          r.io/web:new # c",
    );
    check("\"r.io/\\\n          web:old\"", "\"r.io/web:new\"");
}

#[test]
fn files_of_every_form() {
    let text = deployment(
        "# before\n      - name: web # the one\n        # above\n        image: r/web:old # on the line\n        # below\n",
    );
    check(&text, &text.replace("old", "new"));
    let crlf = text.replace('\n', "\r\n");
    check(&crlf, &crlf.replace("old", "new"));
    let no_end = text.split(" # on the line").next().unwrap();
    check(no_end, &no_end.replace("old", "new"));
    let bom = format!("\u{FEFF}---\n{text}");
    check(&bom, &bom.replace("old", "new"));
    let unicode = format!("# größer → ünï\n{text}");
    check(&unicode, &unicode.replace("old", "new"));
    let several = format!(
        "# one\nkind: Service\nmetadata: {{name: web}}\n---\n{text}...\n---\nkind: ConfigMap\ndata:\n  web: |\n    image: r/web:older\n"
    );
    check(&several, &several.replace("web:old #", "web:new #"));
    let flow = "{kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{image: r/web:old, name: web}]}}}}";
    check(flow, &flow.replace("old", "new"));
    let json = "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"r/web:old\"}]}}}}\n";
    check(json, &json.replace("old", "new"));
    let list = format!("kind: List\nitems:\n- {}", text.replace('\n', "\n  "));
    check(&list, &list.replace("old", "new"));
}

#[test]
fn workloads_of_every_kind() {
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "ReplicaSet",
        "Rollout",
    ] {
        let text = deployment("      - {name: web, image: web:old}\n").replace("Deployment", kind);
        check(&text, &text.replace("old", "new"));
    }
    let pod = "kind: Pod\nspec:\n  containers:\n  - name: web\n    image: web:old\n";
    check(pod, &pod.replace("old", "new"));
    let cron = "kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n          - name: web\n            image: web:old\n";
    check(cron, &cron.replace("old", "new"));
    // Whatever has the shape of a pod is one.
    let other = deployment("      - {name: web, image: web:old}\n").replace("Deployment", "Widget");
    check(&other, &other.replace("old", "new"));
    let config = "kind: ConfigMap\ndata:\n  containers: [{name: web, image: web:old}]\n";
    refused_text(config, "staging/web", "no workload");
}

#[test]
fn the_right_container_of_several() {
    check_containers(
        "      - name: proxy\n        image: r/proxy:old\n      - image: r/web:old\n        name: web\n      - name: web-metrics\n        image: r/web:old\n",
        "      - name: proxy\n        image: r/proxy:old\n      - image: r/web:new\n        name: web\n      - name: web-metrics\n        image: r/web:old\n",
    );
    check_containers(
        "      - name: side\n        image: r/side:old\n      initContainers:\n      - name: migrate\n        image: r/web:old\n      - name: web\n        image: r/web:old\n",
        "      - name: side\n        image: r/side:old\n      initContainers:\n      - name: migrate\n        image: r/web:new\n      - name: web\n        image: r/web:new\n",
    );
}

#[test]
fn doubled_keys_elsewhere_do_not_matter() {
    let text = "kind: Deployment\nkind: Deployment\nmetadata:\n  name: web\n  labels: {a: b, a: c}\n  labels: {a: d}\nspec:\n  replicas: 1\n  replicas: 2\n  template:\n    spec:\n      containers:\n      - name: web\n        env: [{name: A, value: x, value: y}]\n        env: []\n        image: r/web:old\n        ports: []\n        ports: []\n";
    check(text, &text.replace("old", "new"));
    let side = "      - name: side\n        image: x:1\n        image: x:2\n      - name: web\n        image: r/web:old\n";
    check_containers(side, &side.replace("old", "new"));
}

#[test]
fn doubled_keys_on_the_way_are_refused() {
    refused_text(
        &deployment("      - name: web\n        image: r/web:a\n        image: r/web:b\n"),
        "deployment.yaml:11",
        "`image` stands there twice, on lines 10 and 11",
    );
    refused_text(
        &deployment("      - name: web\n        image: r/web:a\n        name: web\n"),
        "deployment.yaml:9",
        "`name` stands there twice",
    );
    refused_text(
        &deployment(
            "      - {name: web, image: r/web:a}\n      containers:\n      - {name: x, image: r/x:a}\n",
        ),
        "deployment.yaml:11",
        "`containers`",
    );
    refused_text(
        &format!(
            "{}spec: {{}}\n",
            deployment("      - {name: web, image: r/web:a}\n")
        ),
        "deployment.yaml:10",
        "`spec`",
    );
}

#[test]
fn a_second_workload_is_left_alone() {
    let main = deployment("      - name: web\n        image: r/web:old\n");
    let canary = main.replace("name: web\nspec", "name: web-canary\nspec");
    let done = run(
        &[image("new")],
        &[
            ("canary.yaml", canary.as_bytes()),
            ("deployment.yaml", main.as_bytes()),
        ],
    )
    .unwrap();
    assert_eq!(
        done.files.keys().collect::<Vec<_>>(),
        ["staging/web/deployment.yaml"]
    );
    let done = run(
        &[image("new")],
        &[
            ("app.yml", main.as_bytes()),
            ("deployment.yaml", canary.as_bytes()),
        ],
    )
    .unwrap();
    assert_eq!(
        done.files.keys().collect::<Vec<_>>(),
        ["staging/web/app.yml"],
        "the name comes first"
    );
    let other = main.replace("name: web\nspec", "name: web-blue\nspec");
    let done = run(
        &[image("new")],
        &[
            ("deployment.yaml", other.as_bytes()),
            ("z.yaml", canary.as_bytes()),
        ],
    )
    .unwrap();
    assert_eq!(
        done.files.keys().collect::<Vec<_>>(),
        ["staging/web/deployment.yaml"],
        "then the file"
    );
    refused(
        &[
            ("blue.yaml", other.as_bytes()),
            ("canary.yaml", canary.as_bytes()),
        ],
        "staging/web/blue.yaml:10, staging/web/canary.yaml:10",
        "declared 2 times",
    );
}

#[test]
fn a_kustomization_that_sets_the_image_is_edited() {
    let text = deployment("      - {name: web, image: r/web:old}\n");
    let beside = |kustomization: &str| {
        let files: [(&str, &[u8]); 2] = [
            ("deployment.yaml", text.as_bytes()),
            ("kustomization.yaml", kustomization.as_bytes()),
        ];
        run(&[image("new")], &files)
    };
    let text_of = "kind: Kustomization\nresources: [deployment.yaml]\nimages:\n- name: r/other\n  newTag: a\n- name: r/web\n  newTag: b # c\n";
    let done = beside(text_of).unwrap();
    let file = done.files["staging/web/kustomization.yaml"].clone();
    assert_eq!(
        String::from_utf8(file).unwrap(),
        text_of.replace("newTag: b", "newTag: new")
    );
    assert_eq!(done.files.len(), 1);
    assert_eq!(
        (done.changes[0].line, &*done.changes[0].from),
        (7, "r/web:b")
    );
    for harmless in [
        "resources: [deployment.yaml]\n",
        "resources: [./deployment.yaml]\nimages: [{name: r/other, newTag: a}]\n",
        "resources: [deployment.yaml]\nimages: [{name: r/web}]\n",
        "resources: [deployment.yaml]\nimages:\npatches: [{path: gone.yaml}]\n",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {path: ./other}\n",
    ] {
        assert_eq!(beside(harmless).unwrap().changes.len(), 1, "{harmless}");
    }
}

#[test]
fn two_matches_are_refused() {
    let two =
        "      - name: web\n        image: r/web:a\n      - name: web\n        image: r/web:b\n";
    refused_text(
        &deployment(two),
        "deployment.yaml:10, staging/web/deployment.yaml:12",
        "declared 2 times",
    );
    let twice = format!(
        "{0}---\n{0}",
        deployment("      - name: web\n        image: r/web:a\n")
    );
    refused_text(
        &twice,
        "deployment.yaml:10, staging/web/deployment.yaml:21",
        "declared 2 times",
    );
}

#[test]
fn no_match_is_refused_with_what_is_there() {
    refused(&[], "staging/web", "holds no manifests");
    refused(
        &[("a.yaml", b"kind: Service\n")],
        "staging/web",
        "no workload in staging/web has a container `web`",
    );
    refused_text(
        &deployment("      - name: web\n        image: r/myweb:a\n"),
        "deployment.yaml:10",
        "runs `r/myweb:a`",
    );
    refused_text(
        &deployment("      - name: web\n        image: r/web/x:a\n"),
        "deployment.yaml:10",
        "runs `r/web/x:a`",
    );
    refused_text(
        &deployment("      - name: web\n        image: :old\n"),
        "deployment.yaml:10",
        "runs `:old`",
    );
    refused_text(
        &deployment("      - name: web\n        image: \"\"\n"),
        "deployment.yaml:10",
        "runs ``",
    );
    refused_text(
        &deployment("      - name: web\n        image:\n"),
        "deployment.yaml:10",
        "runs ``",
    );
    refused_text(
        &deployment("      - name: web\n"),
        "staging/web",
        "container `web`",
    );
    refused_text(
        "kind: Deployment\nspec: web\n",
        "staging/web",
        "container `web`",
    );
    refused_text("web\n---\n- web\n", "staging/web", "container `web`");
    let errors = run(&[image("new")], &[]).unwrap_err();
    assert_eq!(errors[0].kind, RefusedKind::Missing);
}

#[test]
fn aliases_and_anchors_on_the_way_are_refused() {
    refused_text(
        &deployment("      - name: web\n        image: *i\n")
            .replace("metadata:", "x: &i r/web:a\nmetadata:"),
        "deployment.yaml:11",
        "alias (`*i`)",
    );
    let unused = "      - name: web\n        image: &i r/web:old # c\n";
    check_containers(unused, &unused.replace("old", "new"));
    refused_text(
        &deployment("      - name: web\n        image: &i r/web:a\n      - {name: x, image: *i}\n"),
        "deployment.yaml:10",
        "anchor (`&i`)",
    );
    refused_text(
        &deployment("      - &c {name: web, image: r/web:a}\n      initContainers: [*c]\n"),
        "deployment.yaml:9",
        "`*c`",
    );
    refused_text(
        "kind: Deployment\nx: &c [{name: web, image: r/web:a}]\nspec: {template: {spec: {containers: *c}}}\n",
        "deployment.yaml:3",
        "`*c` stands on the way",
    );
    refused_text(
        "kind: Deployment\nx: &c {name: web, image: r/web:a}\nspec: {template: {spec: {containers: [*c]}}}\n",
        "deployment.yaml:3",
        "`*c` stands in place of a container",
    );
    refused_text(
        "kind: Deployment\nx: &t {spec: {containers: [{name: web, image: r/web:a}]}}\nspec: {template: *t}\n",
        "deployment.yaml:3",
        "`*t`",
    );
    refused_text(
        &deployment("      - name: web\n        image: !Ref r/web:a\n"),
        "deployment.yaml:10",
        "tag `!Ref`",
    );
}

#[test]
fn aliases_beside_the_way_do_not_matter() {
    let beside = "      - name: web\n        image: r/web:old\n        env: &e [{name: A}]\n      - {name: x, image: r/x:1, env: *e}\n";
    check_containers(beside, &beside.replace("old", "new"));
    let unused = "      - &web\n        name: web\n        image: r/web:old\n";
    check_containers(unused, &unused.replace("old", "new"));
    let sidecar = deployment("      - *s\n      - name: web\n        image: r/web:old\n")
        .replace("metadata:", "x: &s {name: s, image: s:1}\nmetadata:");
    check(&sidecar, &sidecar.replace("old", "new"));
    let own_key = deployment("      - <<: *b\n        name: web\n        image: r/web:old\n")
        .replace("metadata:", "x: &b {tty: true}\nmetadata:");
    check(&own_key, &own_key.replace("old", "new"));
}

#[test]
fn merge_keys_that_bring_the_image_are_refused() {
    let base = "x: &b {image: r/web:a}\nmetadata:";
    refused_text(
        &deployment("      - <<: *b\n        name: web\n").replace("metadata:", base),
        "deployment.yaml:10",
        "`image` comes in through a merge key",
    );
    let base = "x: &b {name: web}\nmetadata:";
    refused_text(
        &deployment("      - <<: *b\n        image: r/web:a\n").replace("metadata:", base),
        "deployment.yaml:10",
        "`name` comes in through a merge key",
    );
    refused_text(
        "kind: Deployment\nx: &b {containers: [{name: web, image: r/web:a}]}\nspec: {template: {spec: {<<: *b}}}\n",
        "deployment.yaml:3",
        "`containers` comes in through a merge key",
    );
}

#[test]
fn templates_are_refused() {
    refused_text(
        &deployment("      - name: web\n        image: {{ .Values.image }}\n"),
        "deployment.yaml:10",
        "template",
    );
    refused_text(
        &deployment(
            "      - name: web\n        image: \"{{ .Values.repo }}/web:{{ .Values.tag }}\"\n",
        ),
        "deployment.yaml:10",
        "template",
    );
    for value in [
        "${REGISTRY}/web:${TAG}",
        "r/web:$TAG",
        "r/web:$(TAG)",
        "r/web:%TAG%",
        "r/web:<tag>",
        "r/web:#{TAG}#",
        "'r/web:@TAG@'",
        "$IMAGE",
    ] {
        refused_text(
            &deployment(&format!("      - name: web\n        image: {value}\n")),
            "deployment.yaml:10",
            "template",
        );
    }
    refused_text(
        &deployment("      - name: web\n        image: {{ .Values.repo }}/web:{{ .Values.tag }}\n"),
        "deployment.yaml:10",
        "template",
    );
    refused_text(
        &deployment(
            "{{- range .Values.containers }}\n      - name: web\n        image: r/web:a\n{{- end }}\n",
        ),
        "deployment.yaml:",
        "template",
    );
    refused_text(
        "kind: {{ .kind }}\nspec: [\n# web web\n",
        "deployment.yaml:",
        "template",
    );
}

#[test]
fn unreadable_files_are_refused_where_they_may_be_meant() {
    let good = deployment("      - name: web\n        image: r/web:old\n");
    let mut latin = good.clone().into_bytes();
    latin.extend_from_slice(b"# gr\xFC\xDFe\n");
    refused(
        &[("deployment.yaml", &latin)],
        "deployment.yaml:11",
        "not UTF-8",
    );
    refused(
        &[("deployment.yaml", &latin), ("other.yaml", good.as_bytes())],
        "deployment.yaml:11",
        "not UTF-8",
    );
    // Only what holds the image counts.
    let neighbours: [(&str, &[u8], &str); 6] = [
        (
            "cm.yaml",
            b"kind: ConfigMap\ndata: {a: \"web gr\xFC\xDFe\"}\n",
            "",
        ),
        (
            "x.yaml",
            b"kind: Service\nmetadata:\n  name: web\nspec:\n   a: 1\n  b: 2\n",
            "x.yaml:",
        ),
        ("x.yaml", b"kind: ConfigMap\ndata:\n\tweb: 1\n", "x.yaml:3"),
        (
            "x.yaml",
            b"name: web\n{{- if .x }}\na: 1\n{{- end }}\n",
            "template",
        ),
        (
            "x.yaml",
            b"name: web\n{{- if .x }}\nimage: r/web:1\n{{- end }}\n",
            "template",
        ),
        ("x.json", b"{\"web\":", "x.json:"),
    ];
    for (name, bytes, note) in neighbours {
        let done = run(
            &[image("new")],
            &[("deployment.yaml", good.as_bytes()), (name, bytes)],
        )
        .unwrap();
        assert_eq!(done.changes.len(), 1, "{name}");
        assert_eq!(
            done.notes.len(),
            usize::from(!note.is_empty()),
            "{:?}",
            done.notes
        );
        assert!(
            done.notes.iter().all(|it| it.contains(note)),
            "{:?}",
            done.notes
        );
    }
    let broken = good.replace("containers:", "containers: [");
    refused_text(&broken, "deployment.yaml:", "no YAML");
    let beside = run(
        &[image("new")],
        &[
            ("deployment.yaml", good.as_bytes()),
            ("notes.yaml", b"\xFF: ["),
        ],
    );
    assert_eq!(beside.unwrap().changes.len(), 1);
}

#[test]
fn digests_follow_the_tag_where_there_is_one() {
    let (a, b) = (
        format!("sha256:{}", "a".repeat(64)),
        format!("sha256:{}", "b".repeat(64)),
    );
    let with = SetImage {
        digest: Some(Digest::new(b.clone()).unwrap()),
        ..image("new")
    };
    let check = |old: &str, new: &str| {
        let text =
            |value: &str| deployment(&format!("      - name: web\n        image: {value}\n"));
        let done = run(
            std::slice::from_ref(&with),
            &[("d.yaml", text(old).as_bytes())],
        )
        .unwrap();
        assert_eq!(done.files["staging/web/d.yaml"], text(new).into_bytes());
    };
    check(&format!("r/web:old@{a}"), &format!("r/web:new@{b}"));
    check(&format!("r/web@{a}"), &format!("r/web@{b}"));
    check("\"r/web:old@\"", &format!("\"r/web:new@{b}\""));
    check("r/web:old@sha256:AB", &format!("r/web:new@{b}"));
    check("r/web:old", "r/web:new");
    let always = SetImage {
        pinning: Pinning::Always,
        ..with.clone()
    };
    let text = deployment("      - name: web\n        image: r/web:old\n");
    let done = run(&[always], &[("d.yaml", text.as_bytes())]).unwrap();
    assert_eq!(done.changes[0].to, format!("r/web:new@{b}"));
    refused_text(
        &deployment(&format!(
            "      - name: web\n        image: r/web:old@{a}\n"
        )),
        "deployment.yaml:10",
        "pins a digest",
    );
}

#[test]
fn a_name_that_is_none_is_kept_for_nobody() {
    let set = |old: &str, name: Option<&str>| {
        let text = deployment(&format!("      - name: web\n        image: {old}\n"));
        let image = SetImage {
            name: name.map(|name| ImageName::new(name).unwrap()),
            ..image("t")
        };
        run(&[image], &[("d.yaml", text.as_bytes())])
    };
    for old in [
        "/web:1",
        "//web:1",
        "https://r.io/web:1",
        "r.io//web:1",
        "r.io/Team/web:1",
        "r.io:port/web:1",
        "r.io:/web:1",
    ] {
        let error = set(old, None).unwrap_err();
        assert!(error[0].cause.contains("d.yaml:10"), "{error:?}");
        assert!(error[0].cause.contains("is not an image name"), "{error:?}");
        assert!(error[0].remedy.contains("web=HOST/PATH/web:t"), "{error:?}");
        let mended = set(old, Some("r.io:5000/x/web")).unwrap();
        assert_eq!(mended.changes[0].to, "r.io:5000/x/web:t");
    }
    assert!(set("r/web:1", Some("r/other")).is_err());
}

#[test]
fn what_is_up_to_date_is_not_changed() {
    let text = deployment("      - name: web\n        image: 'r/web:new'\n");
    let done = run(&[image("new")], &[("d.yaml", text.as_bytes())]).unwrap();
    assert_eq!(done, EditPlan::default());
}

#[test]
fn several_images_in_one_file() {
    let text = deployment(
        "      - {name: web, image: r/web:old}\n      - {name: api, image: r/api:old}\n",
    );
    let api = SetImage {
        target: Target {
            component: ComponentName::new("api").unwrap(),
            ..target("api", "api")
        },
        ..image("newest")
    };
    let done = run(&[api, image("new")], &[("d.yaml", text.as_bytes())]).unwrap();
    let expected = text
        .replace("web:old", "web:new")
        .replace("api:old", "api:newest");
    assert_eq!(done.files["staging/web/d.yaml"], expected.into_bytes());
    let order: Vec<_> = done
        .changes
        .iter()
        .map(|change| change.component.as_str())
        .collect();
    assert_eq!(order, ["api", "web"]);
}
