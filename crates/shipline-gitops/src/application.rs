//! What deploys a folder from elsewhere and changes it on the way: Argo CD's Applications, their parameter files, and Flux's
//! Kustomizations.

use std::rc::Rc;

use shipline_model::yaml::Node;

use crate::error::Spot;
use crate::folder::{contains, resolve};
use crate::parsed::Parsed;
use crate::patch::Selector;
use crate::place::Doubt;
use crate::places::application::{block, layers, sources};
use crate::places::values::Layer;
use crate::rule::Rule;

/// One source of an Application, or a Kustomization of Flux.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) parsed: Rc<Parsed>,
    /// The folder that it deploys; `None` where that is not in this repository.
    folder: Option<String>,
    /// Whether a template stands in that path: then it may deploy any folder.
    pub(crate) templated: bool,
    pub(crate) rules: Vec<Rule>,
    pub(crate) patches: Vec<(String, Option<Selector>, Spot)>,
    pub(crate) components: Vec<(String, Spot)>,
    value_files: Vec<String>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) block: Option<Doubt>,
}

impl App {
    /// Whether a file may hold one.
    pub(crate) fn may_be(bytes: &[u8]) -> bool {
        contains(bytes, "Application") || contains(bytes, "kustomize.toolkit.fluxcd.io/")
    }

    /// Reads those of a file.
    pub(crate) fn read(parsed: &Rc<Parsed>) -> Vec<Self> {
        let mut found = Vec::new();
        let mut open: Vec<&Node> = parsed.documents().iter().collect();
        while let Some(document) = open.pop() {
            let text = |key| document.get(key).and_then(Node::text).unwrap_or_default();
            let kind = text("kind");
            if kind.ends_with("List") {
                open.extend(document.get_all("items").flat_map(Node::items));
            }
            let flux = kind == "Kustomization"
                && text("apiVersion").starts_with("kustomize.toolkit.fluxcd.io/");
            if flux && let Some(spec) = document.get("spec") {
                found.push(Self::of(parsed, spec, Some(spec)));
            }
            for source in sources(document) {
                let mut app = Self::of(parsed, source.node, source.node.get("kustomize"));
                app.layers = layers(parsed, document, &source);
                app.block = block(parsed, &source);
                // Files of a second source of the same Application, which is this repository (`$values/…`).
                let files = source.node.get("helm").into_iter();
                let files = files.flat_map(|helm| helm.get_all("valueFiles"));
                app.value_files = files
                    .flat_map(Node::items)
                    .filter_map(Node::text)
                    .map(str::to_owned)
                    .collect();
                found.push(app);
            }
        }
        found
    }

    fn of(parsed: &Rc<Parsed>, source: &Node, inside: Option<&Node>) -> Self {
        let path = source.get("path").and_then(Node::text).unwrap_or_default();
        let items = |key: &'static str| {
            let lists = inside.into_iter().flat_map(move |it| it.get_all(key));
            lists.flat_map(Node::items)
        };
        let patches = items("patches").filter_map(|entry| {
            let text = entry.get("patch").and_then(Node::text)?;
            let selector = entry.get("target").map(Selector::read);
            Some((text.to_owned(), selector, parsed.spot(entry)))
        });
        let components = items("components")
            .filter_map(|entry| Some((entry.text()?.to_owned(), parsed.spot(entry))));
        Self {
            parsed: Rc::clone(parsed),
            templated: path.contains("{{"),
            folder: Some(path.trim_start_matches('/'))
                .filter(|path| !path.is_empty())
                .and_then(|path| resolve("", path)),
            rules: items("images")
                .filter_map(|entry| Rule::argo(parsed, entry))
                .collect(),
            patches: patches.collect(),
            components: components.collect(),
            value_files: Vec::new(),
            layers: Vec::new(),
            block: None,
        }
    }

    /// A file `.argocd-source*.yaml`, which changes the source of the Application of its folder.
    pub(crate) fn parameters(parsed: &Rc<Parsed>) -> Self {
        let document = parsed.documents().first();
        let empty = Node {
            kind: shipline_model::yaml::NodeKind::Sequence(Vec::new()),
            span: 0..0,
            anchor: None,
            tag: None,
        };
        let root = document.unwrap_or(&empty);
        let mut app = Self::of(parsed, &empty, root.get("kustomize"));
        let source = crate::places::application::Source::top(root);
        app.layers = layers(parsed, root, &source);
        app.block = block(parsed, &source);
        app
    }

    /// Whether it deploys this folder.
    pub(crate) fn is_for(&self, folder: &str) -> bool {
        self.templated || self.folder.as_deref() == Some(folder)
    }

    /// The values files that it names for the chart in a folder, as paths of this repository.
    pub(crate) fn value_files(&self, folder: &str) -> Vec<String> {
        self.value_files
            .iter()
            .filter_map(|file| self.value_file(folder, file))
            .collect()
    }

    fn value_file(&self, folder: &str, file: &str) -> Option<String> {
        match file.strip_prefix('$') {
            // `$values/…`: from the root of the source that is called so.
            Some(rest) => resolve("", rest.split_once('/')?.1),
            None => match file.strip_prefix('/') {
                Some(rest) => resolve("", rest),
                None => resolve(folder, file),
            },
        }
    }

    /// Whether it names this values file.
    pub(crate) fn names_values(&self, path: &str) -> bool {
        let folder = self.folder.as_deref().unwrap_or_default();
        self.value_files(folder).iter().any(|file| file == path)
    }

    /// Why what it sets is not edited.
    pub(crate) fn doubt(&self, spot: Spot) -> Doubt {
        let (cause, remedy) = if self.templated {
            (
                "the image is set here for every folder that the template makes",
                "remove the entry: Shipline sets the image in the manifests of the folder",
            )
        } else {
            (
                "a component of the Application sets the image here",
                "remove the entry: Shipline sets the image in the manifests of the folder",
            )
        };
        Doubt {
            spot,
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}
