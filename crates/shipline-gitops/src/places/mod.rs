//! The kinds of places at which an image can stand: one file each, and one line here.

use std::rc::Rc;

use shipline_model::yaml::Node;

use crate::parsed::Parsed;
use crate::rendering::Rendering;

pub(crate) mod application;
pub(crate) mod helm_release;
pub(crate) mod values;
pub(crate) mod workload;

/// Reads the images of a document of its kind into a rendering; `false` where it is of another kind.
type Read = fn(&Rc<Parsed>, &Node, &mut Rendering) -> bool;

/// The kinds of documents, in the order in which they are asked.
const KINDS: &[Read] = &[helm_release::read, application::read, workload::read];

/// Reads the images of a document, and of those in a list.
pub(crate) fn read(parsed: &Rc<Parsed>, document: &Node, rendering: &mut Rendering) {
    let kind = document.get("kind").and_then(Node::text);
    if kind.is_some_and(|kind| kind.ends_with("List")) {
        for item in document.get_all("items").flat_map(Node::items) {
            read(parsed, item, rendering);
        }
        return;
    }
    for kind in KINDS {
        if kind(parsed, document, rendering) {
            return;
        }
    }
}
