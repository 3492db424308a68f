//! Helm charts and their values, as a part of what a repository deploys.

use std::cell::RefCell;
use std::rc::Rc;

use crate::application::App;
use crate::folder::{Folder, base_name, parent};
use crate::parsed::Parsed;
use crate::places::values;
use crate::rendering::{Rendering, Resource};
use crate::world::{World, through};

impl World<'_> {
    /// The values of a Helm chart in a folder.
    pub(crate) fn chart(
        &self,
        root: &str,
        folder: &Folder,
        apps: &[&App],
        overriding: &[App],
        rendering: &mut Rendering,
    ) -> Result<(), git2::Error> {
        let name = |path: &str| base_name(path).to_owned();
        let is_chart = folder
            .files
            .iter()
            .any(|file| matches!(name(&file.path).as_str(), "Chart.yaml" | "Chart.yml"));
        let charts = apps
            .iter()
            .copied()
            .chain(overriding)
            .any(|app| !app.layers.is_empty());
        if !is_chart && !charts {
            return Ok(());
        }
        let defaults = folder
            .files
            .iter()
            .find(|file| name(&file.path) == "values.yaml")
            .map(|file| file.path.clone());
        let mut files: Vec<String> = defaults.into_iter().collect();
        for app in apps {
            files.extend(app.value_files(root));
        }
        let mut layers = Vec::new();
        for path in &files {
            if let Some(parsed) = self.read(path)? {
                layers.extend(values_file(&parsed));
                rendering.files.push(parsed);
            }
        }
        for app in apps.iter().copied().chain(overriding) {
            layers.extend(app.layers.iter().cloned());
        }
        self.chart_of(root, layers, rendering);
        for app in apps {
            if let Some(doubt) = &app.block {
                for image in &mut rendering.images {
                    if image.part.container().is_none() {
                        image.doubt.get_or_insert(doubt.clone());
                    }
                }
            }
        }
        Ok(())
    }

    fn chart_of(&self, root: &str, layers: Vec<values::Layer>, rendering: &mut Rendering) {
        let start = (rendering.images.len(), rendering.resources.len());
        let resource = rendering.resource(Resource {
            kind: "Chart".to_owned(),
            names: vec![base_name(root).to_owned()],
            file: root.into(),
        });
        values::read(resource, layers, "", rendering);
        through(root, start, rendering);
    }

    /// What one values file says, with the values that lie over and under it: those of the chart in its folder, and those of the
    /// Applications that name it.
    pub(crate) fn render_values(&self, path: &str) -> Result<Rc<RefCell<Rendering>>, git2::Error> {
        if let Some(known) = self.renderings.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let mut rendering = Rendering::default();
        let mut layers = Vec::new();
        let folder = parent(path);
        let weaker = self.folder(folder)?;
        let weaker = weaker
            .files
            .iter()
            .map(|file| file.path.as_str())
            .find(|other| base_name(other) == "values.yaml" && *other != path);
        for path in weaker.into_iter().chain([path]) {
            if let Some(parsed) = self.read(path)? {
                layers.extend(values_file(&parsed));
                rendering.files.push(parsed);
            }
        }
        let mut block = None;
        for app in self.apps.iter().filter(|app| app.names_values(path)) {
            layers.extend(app.layers.iter().cloned());
            block = block.or(app.block.clone());
        }
        self.chart_of(path, layers, &mut rendering);
        if let Some(doubt) = block {
            for image in &mut rendering.images {
                image.doubt.get_or_insert(doubt.clone());
            }
        }
        let rendering = Rc::new(RefCell::new(rendering));
        let mut known = self.renderings.borrow_mut();
        known.insert(path.to_owned(), Rc::clone(&rendering));
        Ok(rendering)
    }
}

/// The values of a file.
fn values_file(parsed: &Rc<Parsed>) -> Option<values::Layer> {
    parsed.documents().first()?;
    Some(values::Layer::Tree {
        parsed: Rc::clone(parsed),
        document: 0,
        route: Vec::new(),
    })
}
