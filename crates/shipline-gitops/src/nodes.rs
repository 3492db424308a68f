//! Small things about nodes and names of manifests.

use shipline_model::yaml::{Node, NodeKind};

use crate::folder::base_name;

/// Whether ArgoCD reads a file of this name in a directory of manifests.
pub(crate) fn is_manifest(path: &str) -> bool {
    let name = base_name(path);
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|extension| name.ends_with(extension))
}

/// Whether kustomize reads a file of this name.
pub(crate) fn is_kustomization(path: &str) -> bool {
    matches!(
        base_name(path),
        "kustomization.yaml" | "kustomization.yml" | "Kustomization"
    )
}

/// The nodes directly in a node: a mapping's keys are among them.
pub(crate) fn children(node: &Node) -> Vec<&Node> {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().collect(),
        NodeKind::Mapping(entries) => entries
            .iter()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        NodeKind::Scalar(_) | NodeKind::Alias(_) => Vec::new(),
    }
}
