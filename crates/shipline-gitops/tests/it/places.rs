//! Where else an image may stand or be decided: other containers, kustomizations, Applications, other kinds of files.

use crate::edit::{deployment, image, refused_around, run, run_around};
use shipline_engine::backend::SetImage;
use shipline_gitops::EditRefused;
use shipline_gitops::edit::{EditPlan, plan};
use shipline_gitops::files::Memory;
use shipline_gitops::folder::{Unread, UnreadKind};
use shipline_model::config::Containers;
use shipline_model::name::ComponentName;

const OLD: &str = "      - {name: web, image: r/web:old}\n";

fn workload(kind: &str, name: &str, container: &str, image: &str) -> String {
    deployment(&format!(
        "      - name: {container}\n        image: {image}\n"
    ))
    .replace("Deployment", kind)
    .replace("name: web\nspec", &format!("name: {name}\nspec"))
}

fn all() -> SetImage {
    let mut image = image("new");
    image.target.containers = Containers::All;
    image
}

#[test]
fn others_on_the_same_image_are_told_and_left_alone() {
    let main = workload("Deployment", "web", "web", "r/web:old");
    let worker = workload("Deployment", "web-worker", "worker", "r/web:old");
    let nightly = workload("Job", "web-nightly", "web", "r/web:older");
    let other = workload("Deployment", "api", "api", "r/api:old");
    let files: [(&str, &[u8]); 4] = [
        ("a.yaml", other.as_bytes()),
        ("deployment.yaml", main.as_bytes()),
        ("nightly.yaml", nightly.as_bytes()),
        ("worker.yaml", worker.as_bytes()),
    ];
    let done = run(&[image("new")], &files).unwrap();
    assert_eq!(done.changes.len(), 1);
    assert_eq!(
        done.notes,
        [
            "staging/web/nightly.yaml:10: the container `web` runs `r/web:older` and is left alone",
            "staging/web/worker.yaml:10: the container `worker` runs `r/web:old` and is left alone",
        ]
    );
    let done = run(&[all()], &files).unwrap();
    let lines: Vec<&str> = done.changes.iter().map(|it| it.file.as_str()).collect();
    assert_eq!(done.changes.len(), 3, "{lines:?}");
    assert_eq!(done.notes, Vec::<String>::new());
    assert!(!done.files.contains_key("staging/web/a.yaml"));
    // Another component's deployment of the worker is not "left alone".
    let mut of_worker = image("new");
    of_worker.target.component = ComponentName::new("worker").unwrap();
    of_worker.target.name = "worker".into();
    let done = run(&[image("new"), of_worker], &files).unwrap();
    assert_eq!(done.changes.len(), 2);
    assert!(
        done.notes.iter().all(|note| !note.contains("worker")),
        "{:?}",
        done.notes
    );
}

#[test]
fn init_containers_move_with_the_image_that_they_share() {
    let with = |init: &str| {
        deployment(&format!(
            "      - name: web\n        image: r/web:old\n      initContainers:\n      - name: migrate\n        image: {init}\n"
        ))
    };
    let moved = |init: &str| {
        let text = with(init);
        let done = run(&[image("new")], &[("d.yaml", text.as_bytes())]).unwrap();
        (done.changes.len(), done.notes.len())
    };
    assert_eq!(moved("r/web:old"), (2, 0));
    assert_eq!(moved("r/web:older"), (1, 1));
    assert_eq!(moved("r/other:old"), (1, 0));
    assert_eq!(moved("x/web:old"), (1, 1));
    let elsewhere = with("r/x:1").replace("name: web\nspec", "name: other\nspec");
    let elsewhere = elsewhere.replace("image: r/x:1", "image: r/web:old");
    let elsewhere = elsewhere.replace("- name: web\n", "- name: side\n");
    let main = deployment(OLD);
    let done = run(
        &[image("new")],
        &[
            ("d.yaml", main.as_bytes()),
            ("e.yaml", elsewhere.as_bytes()),
        ],
    )
    .unwrap();
    assert_eq!(
        done.changes.len(),
        1,
        "another pod's init container is another's"
    );
}

#[test]
fn all_containers_are_refused_where_one_is_unfit() {
    let text = deployment(
        "      - {name: web, image: r/web:old}\n      - {name: side, image: 'r/web:$TAG'}\n",
    );
    let error = run(&[all()], &[("d.yaml", text.as_bytes())]).unwrap_err();
    assert!(
        error[0]
            .cause
            .contains("d.yaml:10: the image is a template"),
        "{error:?}"
    );
    let error = run(&[all()], &[("d.yaml", b"kind: Service\nname: web\n")]).unwrap_err();
    assert!(error[0].cause.contains("no workload"), "{error:?}");
}

#[test]
fn two_components_do_not_set_one_value_to_two_images() {
    let text = deployment(
        "      - {name: web, image: r/web:old}\n      initContainers:\n      - {name: migrate, image: r/web:old}\n",
    );
    let mut migrate = image("other");
    migrate.target.component = ComponentName::new("migrate").unwrap();
    migrate.target.name = "migrate".into();
    let files: [(&str, &[u8]); 1] = [("d.yaml", text.as_bytes())];
    let error = run(&[image("new"), migrate.clone()], &files).unwrap_err();
    assert!(
        error[0].cause.contains("d.yaml:11 is set for another"),
        "{error:?}"
    );
    migrate.tag = image("new").tag;
    let done = run(&[image("new"), migrate], &files).unwrap();
    assert_eq!(done.changes.len(), 2);
}

#[test]
fn a_kustomization_says_which_manifests_count() {
    let main = workload("Deployment", "web", "web", "r/web:old");
    let rollout = workload("Rollout", "web", "web", "r/web:old");
    let files = |kustomization: &'static str| {
        run(
            &[image("new")],
            &[
                ("deployment.yaml", main.as_bytes()),
                ("kustomization.yaml", kustomization.as_bytes()),
                ("rollout.yaml", rollout.as_bytes()),
            ],
        )
    };
    let done = files("resources: [rollout.yaml]\n").unwrap();
    assert_eq!(done.changes[0].file, "staging/web/rollout.yaml");
    let check = |kustomization, part: &str| {
        let error = files(kustomization).unwrap_err();
        assert!(error[0].cause.contains(part), "{error:?}");
    };
    check(
        "resources: []\n",
        "deployment.yaml:10 runs `r/web:old`, but nothing lists the file",
    );
    check(
        "images: [{name: r/other, newTag: a}]\n",
        "nothing lists the file",
    );
    check("no: [yaml\n", "kustomization.yaml:2: the file is no YAML");
    check(
        "resources:\n- ../../base/web\nimages:\n- name: r/web\n  newTag: a\n",
        "kustomization.yaml:5: the image stands in a kustomization",
    );
    check(
        "resources:\n- ../../base/web\nimages:\n- name: other\n  newName: r/web\n",
        "kustomization.yaml:5",
    );
}

#[test]
fn manifests_from_elsewhere_are_named() {
    let error = run(
        &[image("new")],
        &[(
            "kustomization.yml",
            b"resources:\n- x.yaml\n- ../../base/web\n",
        )],
    )
    .unwrap_err();
    assert!(
        error[0]
            .cause
            .contains("kustomization.yml:3: the manifests come from `../../base/web`"),
        "{error:?}"
    );
}

/// The edit is in the place that decides, or it is refused naming that.
fn decided(done: Result<EditPlan, Vec<EditRefused>>, place: &str) {
    match done {
        Ok(done) => {
            let change = &done.changes[0];
            let at = format!("{}:{}", change.file, change.line);
            assert!(at.ends_with(place), "{place}: {done:?}");
            assert_eq!(done.changes.len(), 1, "{done:?}");
        }
        Err(error) => {
            assert!(error[0].cause.contains(&format!("{place}: ")), "{error:?}");
            assert!(error[0].cause.contains("has no effect"), "{error:?}");
        }
    }
}

#[test]
fn what_decides_in_place_of_the_manifest_is_edited_or_named() {
    let main = deployment(OLD);
    let beside = |name: &'static str, text: &'static str, part: &str| {
        let list: &[u8] = b"resources: [deployment.yaml]\n";
        let mut files: Vec<(&str, &[u8])> = vec![
            ("deployment.yaml", main.as_bytes()),
            (name, text.as_bytes()),
        ];
        if !name.to_lowercase().starts_with("kustomization") {
            files.push(("kustomization.yaml", list));
        }
        decided(run(&[image("new")], &files), part);
    };
    beside(
        "Kustomization",
        "resources: [deployment.yaml]\nimages:\n- name: r/web\n  newTag: a\n",
        "Kustomization:4",
    );
    beside(
        "kustomization.yml",
        "resources: [deployment.yaml]\nimages:\n- name:\tr/web\n  newTag: a\n",
        "kustomization.yml:4",
    );
    beside(
        "kustomization.yaml",
        "resources: [deployment.yaml]\nimageTags:\n- name: r/web\n  newTag: a\n",
        "kustomization.yaml:4",
    );
    beside(
        "kustomization.yaml",
        "resources: [deployment.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: |\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: r/web:x\n",
        "kustomization.yaml:3",
    );
    beside(
        "kustomization.yaml",
        "resources: [deployment.yaml]\npatchesStrategicMerge:\n- |\n  kind: Deployment\n  metadata: {name: web}\n  spec: {template: {spec: {containers: [{name: web, image: r/web:x}]}}}\n",
        "kustomization.yaml:3",
    );
    beside(
        "kustomization.yaml",
        "resources: [deployment.yaml]\nreplacements:\n- targets: [{fieldPaths: [spec.template.spec.containers.0.image]}]\n",
        "kustomization.yaml:3",
    );
    beside(
        "kustomization.yaml",
        "resources: [deployment.yaml]\ntransformers:\n- |\n  kind: ImageTagTransformer\n  imageTag: {name: r/web, newTag: a}\n",
        "kustomization.yaml:3",
    );
    beside(
        ".argocd-source-web.yaml",
        "kustomize:\n  images:\n  - r/web:pinned\n",
        ".argocd-source-web.yaml:3",
    );
    beside(
        ".argocd-source.yaml",
        "kustomize:\n  images: ['r/web=other/web:1']\n",
        ".argocd-source.yaml:2",
    );
    let patch: &[u8] = b"kind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: r/web:pinned\n";
    let by = |list: &'static [u8]| {
        run(
            &[image("new")],
            &[
                ("deployment.yaml", main.as_bytes()),
                ("kustomization.yaml", list),
                ("patch.yaml", patch),
            ],
        )
    };
    let done = by(b"resources: [deployment.yaml]\npatches:\n- path: patch.yaml\n").unwrap();
    assert_eq!(done.changes.len(), 1);
    assert_eq!(
        (
            &*done.changes[0].file,
            done.changes[0].line,
            &*done.changes[0].from
        ),
        ("staging/web/patch.yaml", 8, "r/web:pinned")
    );
    let done = by(b"resources: [deployment.yaml]\n").unwrap();
    assert_eq!(done.changes[0].file, "staging/web/deployment.yaml");
}

#[test]
fn what_decides_from_elsewhere_is_edited_or_named() {
    let main = deployment(OLD);
    let files: [(&str, &[u8]); 2] = [
        ("deployment.yaml", main.as_bytes()),
        ("kustomization.yaml", b"resources: [deployment.yaml]\n"),
    ];
    let with = |path: &'static str, text: &'static str| {
        run_around(&[image("new")], &files, &[(path, text.as_bytes())])
    };
    let decides = |path, text, line: &str| {
        decided(with(path, text), &format!("{path}:{line}"));
    };
    let images = "images:\n- name: r/web\n  newTag: a\n";
    decides(
        "staging/kustomization.yaml",
        "images:\n- name: r/web\n  newTag: a\nresources: [web]\n",
        "3",
    );
    decides(
        "kustomization.yaml",
        "images:\n- name: r/web\n  newTag: a\nresources: [staging/web]\n",
        "3",
    );
    decides(
        "overlays/a/kustomization.yaml",
        "images:\n- name: r/web\n  newTag: a\nresources: [../../staging/web]\n",
        "3",
    );
    // A folder without a kustomization of its own is what takes its files in.
    let overlay =
        "images:\n- name: r/web\n  newTag: a\nresources: [../../staging/web/deployment.yaml]\n";
    let around: [(&str, &[u8]); 1] = [("overlays/a/kustomization.yaml", overlay.as_bytes())];
    let done = run_around(&[image("new")], &files[..1], &around);
    decided(done, "overlays/a/kustomization.yaml:3");
    decides(
        "argocd/web.yaml",
        "kind: Application\nspec:\n  source:\n    path: staging/web\n    kustomize:\n      images: ['r/web:pinned']\n",
        "6",
    );
    decides(
        "argocd/web.yaml",
        "kind: Application\nspec:\n  sources:\n  - path: ./staging/web/\n    kustomize:\n      images:\n      - r/web=x/web:pinned\n",
        "7",
    );
    decides(
        "argocd/set.yaml",
        "kind: ApplicationSet\nspec:\n  template:\n    spec:\n      source:\n        path: '{{path}}'\n        kustomize:\n          images: ['r/web:ab']\n",
        "8",
    );
    decides(
        "argocd/list.yaml",
        "kind: ApplicationList\nitems:\n- kind: Application\n  spec:\n    source: {path: staging/web, kustomize: {images: ['r/web:a']}}\n",
        "5",
    );
    decides(
        "flux/web.yaml",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  path: ./staging/web\n  images:\n  - name: r/web\n    newTag: a\n",
        "7",
    );
    for (path, text) in [
        ("staging/kustomization.yaml", images),
        (
            "production/kustomization.yaml",
            "resources: [web]\nimages:\n- name: r/web\n  newTag: a\n",
        ),
        (
            "argocd/web.yaml",
            "kind: Application\nspec:\n  source:\n    path: production/web\n    kustomize:\n      images: ['r/web:pinned']\n",
        ),
        (
            "argocd/web.yaml",
            "kind: Application\nspec:\n  source:\n    path: staging/web\n    kustomize:\n      images: ['r/other:pinned']\n",
        ),
        (
            "argocd/web.yaml",
            "kind: AppProject\nspec:\n  source:\n    path: staging/web\n    kustomize:\n      images: ['r/web:pinned']\n",
        ),
        ("broken/kustomization.yaml", "no: [yaml\n"),
    ] {
        assert_eq!(with(path, text).unwrap().changes.len(), 1, "{path} {text}");
    }
}

#[test]
fn components_and_transformers_of_a_kustomization_decide_too() {
    let main = deployment(OLD);
    let component = "kind: Component\nimages:\n- name: r/web\n  newTag: a\n";
    let other = "kind: Component\nimages:\n- name: r/other\n  newTag: a\n";
    let patch = "kind: Component\npatches:\n- target: {kind: Deployment}\n  patch: |\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: r/web:x}\n";
    let transformer = "kind: ImageTagTransformer\nimageTag: {name: r/web, newTag: a}\n";
    let look = |own: &str, around: &[(&str, &str)]| {
        let files: [(&str, &[u8]); 2] = [
            ("deployment.yaml", main.as_bytes()),
            ("kustomization.yaml", own.as_bytes()),
        ];
        let around: Vec<(&str, &[u8])> = around
            .iter()
            .map(|(path, text)| (*path, text.as_bytes()))
            .collect();
        run_around(&[image("new")], &files, &around)
    };
    let plain = "resources: [deployment.yaml]\n";
    let with = "resources: [deployment.yaml]\ncomponents: [../../pin]\n";
    let pin = "pin/kustomization.yaml";
    for (own, around) in [
        (with, vec![(pin, component)]),
        (with, vec![(pin, patch)]),
        // A component of a component, which leads back.
        (
            with,
            vec![
                (pin, "kind: Component\ncomponents: [../deep, ../pin]\n"),
                ("deep/kustomization.yaml", component),
            ],
        ),
        // Of what takes the folder in.
        (
            plain,
            vec![
                (
                    "staging/kustomization.yaml",
                    "resources: [web]\ncomponents: [../pin]\n",
                ),
                (pin, component),
            ],
        ),
        // Of an Application, and a patch in one and in Flux's object.
        (
            plain,
            vec![
                (
                    "argocd/web.yaml",
                    "kind: Application\nspec:\n  source:\n    path: staging/web\n    kustomize: {components: [../../pin]}\n",
                ),
                (pin, component),
            ],
        ),
        (
            plain,
            vec![(
                "argocd/web.yaml",
                "kind: Application\nspec:\n  source:\n    path: staging/web\n    kustomize:\n      patches:\n      - target: {kind: Deployment}\n        patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: r/web:x}]'\n",
            )],
        ),
        (
            plain,
            vec![(
                "flux/web.yaml",
                "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  path: ./staging/web\n  patches:\n  - target: {kind: Deployment}\n    patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: r/web:x}]'\n",
            )],
        ),
    ] {
        match look(own, &around) {
            Ok(done) => assert_ne!(done.changes[0].file, "staging/web/deployment.yaml"),
            Err(error) => {
                let cause = &error[0].cause;
                let known = cause.contains("has no effect") || cause.contains("without an end");
                assert!(known, "{error:?}");
            }
        }
    }
    for (own, around) in [
        (with, vec![(pin, other)]),
        (plain, vec![(pin, component)]),
        (with, vec![]),
        (plain, vec![("it.yaml", transformer)]),
    ] {
        assert_eq!(look(own, &around).unwrap().changes.len(), 1, "{own}");
    }
}

#[test]
fn more_kinds_of_workloads_and_files() {
    let check = |name: &str, text: String| {
        let done = run(&[image("new")], &[(name, text.as_bytes())]).unwrap();
        assert_eq!(done.changes.len(), 1, "{text}");
    };
    check(
        "x.yaml",
        workload("DeploymentConfig", "web", "web", "r/web:old"),
    );
    let knative =
        workload("Service", "web", "web", "r/web:old").replace("apps/v1", "serving.knative.dev/v1");
    check("x.yaml", knative);
    let list = workload("Deployment", "web", "web", "r/web:old").replace('\n', "\n  ");
    check("x.yaml", format!("kind: DeploymentList\nitems:\n- {list}"));
    check("d.json", "{\"kind\":\"Deployment\",\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"r/web:1\"}]}}}}".to_owned());
    check("x.yaml", "kind: PodTemplate\ntemplate:\n  spec:\n    containers:\n    - {name: web, image: r/web:1}\n".to_owned());
}

#[test]
fn what_was_seen_instead_is_named() {
    let check = refused_around;
    let web = deployment(OLD);
    check(
        &[],
        &[("staging/web-deployment.yaml", &web)],
        "staging/web holds no manifests; seen elsewhere: staging/web-deployment.yaml:9 runs `r/web:old` in the container `web`",
        "`folder: .`",
    );
    check(
        &[],
        &[("staging/apps/web/d.yaml", &web)],
        "staging/apps/web/d.yaml:9",
        "`folder: apps/web`",
    );
    check(
        &[],
        &[
            ("apps/web/overlays/staging/d.yaml", &web),
            ("a/d.yaml", &web),
        ],
        "seen elsewhere: apps/web/overlays/staging/d.yaml:9",
        "`manifests: \"apps/{component}/overlays/{environment}\"`",
    );
    // A base is not the place to edit: what takes it in is.
    check(
        &[],
        &[
            ("apps/web/base/d.yaml", &web),
            ("apps/web/base/kustomization.yaml", "resources: [d.yaml]\n"),
            (
                "apps/web/staging/kustomization.yaml",
                "resources: [../base]\n",
            ),
        ],
        "seen elsewhere: apps/web/base/d.yaml:9",
        "`manifests: \"apps/{component}/{environment}\"`",
    );
    check(
        &[],
        &[
            ("base/d.yaml", &web),
            ("base/kustomization.yaml", "resources: [d.yaml]\n"),
            (
                "production/web/kustomization.yaml",
                "resources: [../../base]\n",
            ),
        ],
        "seen elsewhere: base/d.yaml:9",
        "base is a base of production/web",
    );
    check(
        &[],
        &[
            (
                "charts/web/values-staging.yaml",
                "image: {repository: r/web, tag: a}\n",
            ),
            ("pipeline.yaml", "components: {web: {image: web}}\n"),
        ],
        "seen elsewhere: charts/web/values-staging.yaml:1 says `repository: r/web` in Helm values",
        "`manifests: \"charts/{component}/values-{environment}.yaml\"`",
    );
    check(
        &[
            ("values.yaml", "server: {port: 80}\n"),
            ("Chart.yaml", "name: web\n"),
        ],
        &[],
        "a Helm chart stands in staging/web",
        "`value: image.tag`",
    );
    let named = web
        .replace("name: web,", "name: app,")
        .replace("r/web", "r/x");
    let named = format!("{named}      - {{name: istio-proxy, image: istio}}\n");
    check(
        &[("x.yaml", &named)],
        &[],
        "the containers there are `app` (r/x:old, staging/web/x.yaml:9), `istio-proxy` (istio, staging/web/x.yaml:10)",
        "`repository: …`",
    );
    check(
        &[],
        &[],
        "staging/web holds no manifests",
        "deployment.yaml",
    );
    check(
        &[],
        &[("pipeline.yaml", "components: {web: {image: web}}\n")],
        "staging/web holds no manifests",
        "deployment.yaml",
    );
}

#[test]
fn what_stands_in_place_of_manifests_is_named() {
    for (kind, part) in [
        (UnreadKind::Link("../base".into()), "is a link to `../base`"),
        (UnreadKind::Submodule, "is a submodule"),
        (UnreadKind::File, "is a file"),
        (UnreadKind::Name, "a name that ArgoCD does not read"),
        (UnreadKind::Large, "too large"),
    ] {
        let unread = Unread {
            path: "staging/web".into(),
            kind,
        };
        let files = Memory::new(Vec::new(), vec![unread]);
        let errors = plan(&[image("new")], &files).unwrap_err();
        assert!(errors[0].cause.contains(part), "{errors:?}");
        assert!(!errors[0].remedy.ends_with('.'));
    }
}
