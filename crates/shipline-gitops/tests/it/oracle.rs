//! Random kustomize trees, with `kubectl kustomize` as the oracle: an edit changes exactly the announced images of what is
//! rendered, and nothing in another environment. An edit without effect does not happen.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "the oracle is a program of the machine"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use shipline_engine::backend::{SetImage, Target};
use shipline_gitops::edit::plan;
use shipline_gitops::files::Memory;
use shipline_gitops::folder::Manifest;
use shipline_model::config::{Containers, KustomizeImages};
use shipline_model::name::{ComponentName, EnvironmentName, Tag};

use shipline_testkit::needs;

use crate::edit::image;

type Tree = BTreeMap<String, String>;

fn maybe(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

fn workload(kind: &str, name: &str, container: &str, image: &str, init: &str) -> String {
    let pod = format!(
        "    spec:\n{init}      containers:\n      - name: {container}\n        image: {image}\n      - {{name: proxy, image: \"r/proxy:1\"}}\n"
    );
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n{pod}"
    )
}

const PATCHES: &[&str] = &[
    "",
    "patches:\n- path: patch.yaml\n",
    "patches:\n- path: json.yaml\n  target: {kind: Deployment, name: web}\n",
    "patches:\n- path: other.yaml\n",
    "patchesStrategicMerge:\n- patch.yaml\n",
    "patches:\n- patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: r/web:inline\n  target: {kind: Deployment}\n",
];

const IMAGES: &[&str] = &[
    "",
    "",
    "images:\n- name: r/web\n  newTag: one\n",
    "images:\n- {name: r/web, newTag: '1'}\n",
    "images:\n- name: r/web\n  newName: x.io/team/web\n",
    "images:\n- name: r/other\n  newTag: one\n- name: r/web\n  newTag: \"1.0\" # c\n",
    "images:\n- name: x.io/team/web\n  newTag: two\n",
    "images: []\n",
];

const MORE: &[&str] = &[
    "",
    "",
    "components: [../../pin]\n",
    "namePrefix: p-\n",
    "replacements:\n- source: {kind: Deployment, name: web, fieldPath: metadata.name}\n  targets:\n  - select: {kind: Deployment, name: web}\n    fieldPaths: [spec.template.metadata.labels.app]\n",
];

fn tree() -> impl Strategy<Value = (Tree, bool, bool)> {
    let base = (
        maybe(&["r/web:old", "\"r/web:1.0\"", "r/web", "app"]),
        maybe(&[
            "",
            "      initContainers:\n      - {name: migrate, image: r/web:old}\n",
        ]),
        any::<bool>(),
        maybe(IMAGES),
    );
    let overlay = (maybe(PATCHES), maybe(IMAGES), maybe(MORE), any::<bool>());
    let around = (maybe(IMAGES), maybe(IMAGES), any::<bool>(), any::<bool>());
    (base, overlay, around).prop_map(|(base, overlay, around)| {
        let (image, init, worker, base_images) = base;
        let (patches, images, more, parent) = overlay;
        let (pin, above, create, all) = around;
        let mut tree = Tree::new();
        let mut put = |path: &str, text: String| tree.insert(path.to_owned(), text);
        put("base/web/deployment.yaml", workload("Deployment", "web", "web", &image, &init));
        put("base/web/worker.yaml", workload("StatefulSet", "worker", "worker", "r/web:old", ""));
        let worker = if worker { "- worker.yaml\n" } else { "" };
        put("base/web/kustomization.yaml", format!("resources:\n- deployment.yaml\n{worker}{base_images}"));
        put("staging/web/kustomization.yaml", format!("resources:\n- ../../base/web\n{patches}{more}{images}"));
        put("staging/web/patch.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: r/web:patched\n".to_owned());
        put("staging/web/other.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n".to_owned());
        put("staging/web/json.yaml", "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: r/web:json\n".to_owned());
        put("pin/kustomization.yaml", format!("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n{pin}"));
        put("production/web/kustomization.yaml", "resources:\n- ../../base/web\n".to_owned());
        if parent {
            put("staging/kustomization.yaml", format!("resources:\n- web\n{above}"));
        }
        (tree, create, all)
    })
}

/// The images that are rendered, by resource and container.
fn render(folder: &Path, root: &str) -> Option<BTreeMap<String, String>> {
    let done = Command::new("kubectl")
        .args(["kustomize", root])
        .current_dir(folder)
        .output()
        .expect("`kubectl` is needed for this test: it renders kustomizations");
    if !done.status.success() {
        return None;
    }
    let text = String::from_utf8(done.stdout).unwrap();
    let mut images = BTreeMap::new();
    for document in shipline_model::yaml::parse(&text).unwrap().documents {
        let spec = document
            .get("spec")
            .unwrap()
            .get("template")
            .unwrap()
            .get("spec")
            .unwrap();
        let kind = document.get("kind").unwrap().text().unwrap();
        for key in ["containers", "initContainers"] {
            for container in spec.get_all(key).flat_map(|list| list.items()) {
                let of = |key| {
                    container
                        .get(key)
                        .and_then(|it| it.text())
                        .unwrap_or_default()
                };
                images.insert(format!("{kind}/{}", of("name")), of("image").to_owned());
            }
        }
    }
    Some(images)
}

fn write(folder: &Path, tree: &Tree) {
    for (path, text) in tree {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rendered_changes_in_the_announced_images((tree, create, all) in tree()) {
        if !needs::programs("oracle::what_is_rendered_changes_in_the_announced_images", &["kubectl"]) {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &tree);
        let root = if tree.contains_key("staging/kustomization.yaml") { "staging" } else { "staging/web" };
        let Some(before) = render(folder.path(), root) else {
            return Ok(());
        };
        let other = render(folder.path(), "production/web").unwrap();
        let component = ComponentName::new("web").unwrap();
        let set = SetImage {
            target: Target {
                kustomize_images: if create { KustomizeImages::Create } else { KustomizeImages::Existing },
                containers: if all { Containers::All } else { Containers::Named },
                ..Target::new(component, EnvironmentName::new("staging").unwrap())
            },
            tag: Tag::new("2.0").unwrap(),
            ..image("2.0")
        };
        let manifests = tree.iter().map(|(path, text)| Manifest { path: path.clone(), bytes: text.clone().into_bytes() });
        let Ok(done) = plan(&[set], &Memory::new(manifests.collect(), Vec::new())) else {
            return Ok(());
        };
        for (path, bytes) in &done.files {
            fs::write(folder.path().join(path), bytes).unwrap();
        }
        let after = render(folder.path(), root).unwrap();
        prop_assert_eq!(render(folder.path(), "production/web").unwrap(), other, "{:?}", done);
        prop_assert_eq!(before.len(), after.len());
        let announced: Vec<(String, String)> = done.changes.iter().map(|it| (it.from.clone(), it.to.clone())).collect();
        let changed: Vec<(&String, &String)> = before.values().zip(after.values()).filter(|(old, new)| old != new).collect();
        for (old, new) in &changed {
            let told = announced.iter().any(|(from, to)| from == *old && to == *new)
                || done.notes.iter().any(|note| note.contains(&format!("from `{old}` to `{new}`")));
            prop_assert!(told, "{old} -> {new} in {done:?}\n{tree:#?}");
        }
        prop_assert_eq!(done.changes.is_empty(), changed.is_empty(), "{:?}\n{:#?}", done, tree);
        for (from, to) in announced {
            prop_assert!(changed.contains(&(&from, &to)), "{from} -> {to} has no effect: {changed:?}\n{tree:#?}");
        }
        prop_assert!(after.values().any(|image| image.ends_with(":2.0")), "{after:?}\n{tree:#?}");
    }
}
