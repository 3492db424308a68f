//! Every kind of place, written in every style: the edited file is the old one with one value replaced, byte for byte.

use proptest::prelude::*;
use shipline_engine::backend::{SetImage, Target};
use shipline_gitops::edit::plan;
use shipline_gitops::files::Memory;
use shipline_gitops::folder::Manifest;
use shipline_model::name::{ComponentName, EnvironmentName, Tag};

use crate::edit::image;

/// A kind of place: the file, its text with `VALUE` (a tag) or `IMAGE` (a whole image), and the other files.
struct Kind {
    file: &'static str,
    text: &'static str,
    around: &'static [(&'static str, &'static str)],
}

const WORKLOAD: (&str, &str) = (
    "staging/web/d.yaml",
    "kind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - {name: web, image: 'r/web:base'}\n",
);

const KINDS: &[Kind] = &[
    Kind {
        file: "staging/web/kustomization.yaml",
        text: "resources: [d.yaml]\nimages:\n- name: r/other\n  newTag: x\n- name: r/web\n  newTag: VALUE\n",
        around: &[WORKLOAD],
    },
    Kind {
        file: "staging/web/kustomization.yaml",
        text: "resources: [d.yaml]\nimages: [{name: r/web, newTag: VALUE}]\n",
        around: &[WORKLOAD],
    },
    Kind {
        file: "staging/web/patch.yaml",
        text: "kind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: IMAGE\n",
        around: &[
            WORKLOAD,
            (
                "staging/web/kustomization.yaml",
                "resources: [d.yaml]\npatches: [{path: patch.yaml}]\n",
            ),
        ],
    },
    Kind {
        file: "staging/web/json.yaml",
        text: "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: IMAGE\n",
        around: &[
            WORKLOAD,
            (
                "staging/web/kustomization.yaml",
                "resources: [d.yaml]\npatches: [{path: json.yaml, target: {kind: Deployment}}]\n",
            ),
        ],
    },
    Kind {
        file: "staging/web/values.yaml",
        text: "a: 1\nimage:\n  repository: r/web\n  tag: VALUE\n  pullPolicy: Always\n",
        around: &[("staging/web/Chart.yaml", "name: web\n")],
    },
    Kind {
        file: "staging/web/values.yaml",
        text: "global:\n  image: IMAGE\nother: {image: r/other:1}\n",
        around: &[("staging/web/Chart.yaml", "name: web\n")],
    },
    Kind {
        file: "staging/web/release.yaml",
        text: "kind: HelmRelease\nmetadata: {name: web}\nspec:\n  values:\n    web:\n      image: {repository: r/web, tag: VALUE}\n",
        around: &[],
    },
    Kind {
        file: "staging/web/app.yaml",
        text: "kind: Application\nmetadata: {name: web}\nspec:\n  source:\n    helm:\n      parameters:\n      - {name: image.repository, value: r/web}\n      - name: image.tag\n        value: VALUE\n",
        around: &[],
    },
    Kind {
        file: "staging/web/app.yaml",
        text: "kind: Application\nmetadata: {name: web}\nspec:\n  source:\n    helm:\n      valuesObject:\n        image:\n          repository: r/web\n          tag: VALUE\n",
        around: &[],
    },
    Kind {
        file: "argocd/web.yaml",
        text: "kind: Application\nmetadata: {name: web}\nspec:\n  source:\n    path: staging/web\n    kustomize:\n      images:\n      - IMAGE\n",
        around: &[WORKLOAD],
    },
    Kind {
        file: "staging/web/.argocd-source-web.yaml",
        text: "kustomize:\n  images:\n  - IMAGE\n",
        around: &[
            WORKLOAD,
            ("staging/web/kustomization.yaml", "resources: [d.yaml]\n"),
        ],
    },
    Kind {
        file: "flux/web.yaml",
        text: "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  path: ./staging/web\n  images:\n  - name: r/web\n    newTag: VALUE\n",
        around: &[
            WORKLOAD,
            ("staging/web/kustomization.yaml", "resources: [d.yaml]\n"),
        ],
    },
    Kind {
        file: "staging/web/x.yaml",
        text: "apiVersion: apps.kruise.io/v1\nkind: CloneSet\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: main\n        image: IMAGE\n",
        around: &[],
    },
    Kind {
        file: "staging/web/x.yaml",
        text: "kind: DeploymentList\nitems:\n- kind: Deployment\n  metadata: {name: web}\n  spec:\n    template:\n      spec:\n        containers: [{name: web, image: IMAGE}]\n",
        around: &[],
    },
    Kind {
        file: "staging/web/x.json",
        text: "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\n \"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":IMAGE}]}}}}",
        around: &[],
    },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_value_is_replaced(
        kind in 0..KINDS.len(),
        quote in prop::sample::select(&["", "'", "\""][..]),
        comment in prop::sample::select(&["", " # c", "   # ü: 'x' \"y\""][..]),
        crlf in any::<bool>(),
        cut in any::<bool>(),
        tag in "v[a-z0-9][a-z0-9._-]{0,20}",
        host in prop::sample::select(&["r/web", "r.io:5000/a/web"][..]),
    ) {
        let kind = &KINDS[kind];
        let quote = if kind.file.ends_with(".json") { "\"" } else { quote };
        let inside = kind.text.contains("VALUE}") || kind.text.contains("IMAGE}") || kind.file.ends_with(".json");
        let comment = if inside { "" } else { comment };
        let host = if kind.file.contains("argocd") { "r/web" } else { host };
        let fill = |tag: &str| {
            let mut text = kind.text
                .replace("VALUE", &format!("{quote}{tag}{quote}{comment}"))
                .replace("IMAGE", &format!("{quote}{host}:{tag}{quote}{comment}"));
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if cut {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text
        };
        let old = fill("vold");
        let mut files = vec![Manifest { path: kind.file.into(), bytes: old.clone().into_bytes() }];
        files.extend(kind.around.iter().map(|(path, text)| Manifest { path: (*path).into(), bytes: text.as_bytes().to_vec() }));
        let component = ComponentName::new("web").unwrap();
        let set = SetImage {
            target: Target::new(component, EnvironmentName::new("staging").unwrap()),
            tag: Tag::new(tag.clone()).unwrap(),
            ..image("x")
        };
        let done = plan(&[set], &Memory::new(files, Vec::new()))
            .map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{old}")))?;
        prop_assert_eq!(done.files.keys().collect::<Vec<_>>(), [kind.file]);
        let new = String::from_utf8(done.files[kind.file].clone()).unwrap();
        prop_assert_eq!(new, fill(&tag));
        prop_assert_eq!(done.changes.len(), 1);
    }
}
