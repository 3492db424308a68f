//! A repository at one commit as it is deployed: which folders render what.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use shipline_model::yaml::Node;

use crate::application::App;
use crate::error::Spot;
use crate::files::Files;
use crate::folder::{Folder, base_name, contains, parent, resolve};
use crate::kustomization::{Kustomization, PatchEntry, is_flux};
use crate::nodes::{is_kustomization, is_manifest};
use crate::parsed::Parsed;
use crate::patch::Patch;
use crate::place::Doubt;
use crate::places;
use crate::rendering::{Rendering, Through};
use crate::rule;
use crate::transformer;

/// How deep kustomizations may take in one another.
const DEPTH: usize = 32;

/// How many of them one rendering follows.
const STEPS: usize = 5_000;

/// How many images one rendering may have.
const IMAGES: usize = 100_000;

/// How many roots one folder may be a part of.
const ROOTS: usize = 256;

/// A repository at one commit.
pub(crate) struct World<'f> {
    pub(crate) files: &'f dyn Files,
    /// Files that are taken to have other bytes.
    edited: BTreeMap<String, Vec<u8>>,
    parsed: RefCell<HashMap<String, Option<Rc<Parsed>>>>,
    folders: RefCell<HashMap<String, Rc<Folder>>>,
    /// The folders of kustomizations by what they take in.
    takers: Rc<HashMap<String, BTreeSet<String>>>,
    pub(crate) apps: Rc<Vec<App>>,
    /// Whether the repository holds more than was looked at.
    pub(crate) cut: bool,
    pub(crate) renderings: RefCell<HashMap<String, Rc<RefCell<Rendering>>>>,
    roots: RefCell<HashMap<String, Vec<String>>>,
    steps: Cell<usize>,
}

impl<'f> World<'f> {
    /// Looks through the files.
    pub(crate) fn new(files: &'f dyn Files) -> Result<Self, git2::Error> {
        let mut takers: HashMap<String, BTreeSet<String>> = HashMap::new();
        let mut apps = Vec::new();
        let whole = files.each(&mut |path, bytes| {
            if is_kustomization(path) {
                let parsed = Rc::new(Parsed::read(path, bytes));
                if let Some(it) = Kustomization::read(&parsed) {
                    for taken in it.taken.iter().filter_map(|taken| taken.path.as_deref()) {
                        let folder = it.folder().to_owned();
                        takers.entry(taken.to_owned()).or_default().insert(folder);
                    }
                    return;
                }
            }
            if App::may_be(bytes) {
                apps.extend(App::read(&Rc::new(Parsed::read(path, bytes))));
            }
        })?;
        Ok(Self {
            files,
            edited: BTreeMap::new(),
            parsed: RefCell::default(),
            folders: RefCell::default(),
            takers: Rc::new(takers),
            apps: Rc::new(apps),
            cut: !whole,
            renderings: RefCell::default(),
            roots: RefCell::default(),
            steps: Cell::new(0),
        })
    }

    /// The same repository with other bytes in some files, none of which takes in anything else than before.
    pub(crate) fn with(&self, edited: BTreeMap<String, Vec<u8>>) -> Self {
        let mut apps = Vec::new();
        for app in self.apps.iter() {
            let path = app.parsed.path.to_string();
            if edited.contains_key(&path) {
                continue;
            }
            apps.push(app.clone());
        }
        for (path, bytes) in &edited {
            if App::may_be(bytes) && !is_kustomization(path) {
                apps.extend(App::read(&Rc::new(Parsed::read(path, bytes))));
            }
        }
        let known = self.parsed.borrow();
        let kept = known.iter().filter(|(path, _)| !edited.contains_key(*path));
        let parsed = kept.map(|(path, it)| (path.clone(), it.clone())).collect();
        Self {
            files: self.files,
            edited,
            parsed: RefCell::new(parsed),
            folders: RefCell::new(self.folders.borrow().clone()),
            takers: Rc::clone(&self.takers),
            apps: Rc::new(apps),
            cut: self.cut,
            renderings: RefCell::default(),
            roots: RefCell::default(),
            steps: Cell::new(0),
        }
    }

    /// What a folder holds directly.
    pub(crate) fn folder(&self, path: &str) -> Result<Rc<Folder>, git2::Error> {
        if let Some(folder) = self.folders.borrow().get(path) {
            return Ok(Rc::clone(folder));
        }
        let folder = Rc::new(self.files.folder(path)?);
        let mut folders = self.folders.borrow_mut();
        folders.insert(path.to_owned(), Rc::clone(&folder));
        Ok(folder)
    }

    /// A file's bytes, as they are taken to be.
    pub(crate) fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, git2::Error> {
        if let Some(bytes) = self.edited.get(path) {
            return Ok(Some(bytes.clone()));
        }
        let folder = parent(path);
        if let Some(known) = self.folders.borrow().get(folder)
            && let Some(file) = known.files.iter().find(|file| file.path == path)
        {
            return Ok(Some(file.bytes.clone()));
        }
        self.files.file(path)
    }

    /// A file, read.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Rc<Parsed>>, git2::Error> {
        if let Some(known) = self.parsed.borrow().get(path) {
            return Ok(known.clone());
        }
        let bytes = self.bytes(path)?;
        let parsed = bytes.map(|bytes| Rc::new(Parsed::read(path, &bytes)));
        let mut known = self.parsed.borrow_mut();
        known.insert(path.to_owned(), parsed.clone());
        Ok(parsed)
    }

    /// The kustomization of a folder.
    pub(crate) fn kustomization(&self, folder: &str) -> Result<Option<Rc<Parsed>>, git2::Error> {
        let files = self.folder(folder)?;
        let mut paths = files.files.iter().map(|file| file.path.as_str());
        let Some(path) = paths.find(|path| is_kustomization(path)) else {
            return Ok(None);
        };
        let parsed = self.read(path)?;
        // Flux's object of the same kind is no input of kustomize.
        Ok(parsed.filter(|parsed| !is_flux(parsed)))
    }

    /// The folders that are deployed and of which `path`, a folder or a file, is a part: those that nothing takes in, and those
    /// that an Application names.
    pub(crate) fn roots(&self, path: &str, is_file: bool) -> Result<Vec<String>, git2::Error> {
        if let Some(known) = self.roots.borrow().get(path) {
            return Ok(known.clone());
        }
        let mut roots = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut own = BTreeSet::from([path.to_owned()]);
        if !is_file && self.kustomization(path)?.is_none() {
            let files = self.folder(path)?;
            let files = files.files.iter().map(|file| &file.path);
            own.extend(
                files
                    .filter(|file| self.takers.contains_key(*file))
                    .cloned(),
            );
        }
        let mut open: Vec<String> = own.iter().cloned().collect();
        while let Some(next) = open.pop() {
            if !seen.insert(next.clone()) || roots.len() > ROOTS {
                continue;
            }
            let takers = self.takers.get(&next);
            let takes: Vec<&String> = takers.into_iter().flatten().collect();
            let deployed = takes.is_empty() || self.apps.iter().any(|app| app.is_for(&next));
            if deployed && !own.contains(&next) {
                roots.insert(next.clone());
            }
            open.extend(takes.into_iter().cloned());
        }
        let deployed = self.apps.iter().any(|app| app.is_for(path));
        if !is_file && (roots.is_empty() || deployed) {
            roots.insert(path.to_owned());
        }
        let roots: Vec<String> = roots.into_iter().collect();
        let mut known = self.roots.borrow_mut();
        known.insert(path.to_owned(), roots.clone());
        Ok(roots)
    }

    /// The folders that take in `path`, directly or not.
    pub(crate) fn above(&self, path: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![path.to_owned()];
        while let Some(next) = open.pop() {
            for taker in self.takers.get(&next).into_iter().flatten() {
                if seen.insert(taker.clone()) {
                    open.push(taker.clone());
                }
            }
        }
        seen
    }

    /// What a file renders that nothing lists.
    pub(crate) fn render_file(&self, path: &str) -> Result<Rc<RefCell<Rendering>>, git2::Error> {
        if let Some(known) = self.renderings.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let rendering = self.render_files(&[path.to_owned()])?;
        let rendering = Rc::new(RefCell::new(rendering));
        let mut known = self.renderings.borrow_mut();
        known.insert(path.to_owned(), Rc::clone(&rendering));
        Ok(rendering)
    }

    /// What these files render by themselves, whether anything lists them or not.
    pub(crate) fn render_files(&self, paths: &[String]) -> Result<Rendering, git2::Error> {
        let mut rendering = Rendering::default();
        for path in paths {
            self.resource(path, &mut rendering)?;
        }
        Ok(rendering)
    }

    /// What a root renders.
    pub(crate) fn render(&self, root: &str) -> Result<Rc<RefCell<Rendering>>, git2::Error> {
        if let Some(known) = self.renderings.borrow().get(root) {
            return Ok(Rc::clone(known));
        }
        let mut rendering = Rendering::default();
        self.root(root, &mut rendering)?;
        let rendering = Rc::new(RefCell::new(rendering));
        let mut known = self.renderings.borrow_mut();
        known.insert(root.to_owned(), Rc::clone(&rendering));
        Ok(rendering)
    }

    fn root(&self, root: &str, rendering: &mut Rendering) -> Result<(), git2::Error> {
        self.steps.set(0);
        let folder = self.folder(root)?;
        let chart = folder
            .files
            .iter()
            .any(|file| matches!(base_name(&file.path), "Chart.yaml" | "Chart.yml"));
        let kustomization = self.kustomization(root)?;
        if let Some(parsed) = kustomization {
            self.accumulate(root, &parsed, 0, &mut Vec::new(), 0, rendering)?;
        } else if !chart {
            let start = (rendering.images.len(), rendering.resources.len());
            for file in folder.files.iter().filter(|file| is_manifest(&file.path)) {
                let name = base_name(&file.path);
                if name.starts_with(".argocd-source") {
                    continue;
                }
                self.resource(&file.path, rendering)?;
            }
            through(root, start, rendering);
        }
        self.apps_of(root, &folder, rendering)
    }

    /// Reads the resources of a file.
    fn resource(&self, path: &str, rendering: &mut Rendering) -> Result<(), git2::Error> {
        if !self.parsed.borrow().contains_key(path) {
            let Some(bytes) = self.bytes(path)? else {
                return Ok(());
            };
            if !contains(&bytes, "image") {
                rendering.skipped.push((path.into(), bytes));
                return Ok(());
            }
        }
        let Some(parsed) = self.read(path)? else {
            return Ok(());
        };
        for document in parsed.documents() {
            places::read(&parsed, document, rendering);
        }
        rendering.files.push(parsed);
        Ok(())
    }

    /// Takes in a kustomization. `start` is where the images begin that it changes; a component changes those of what takes it in.
    fn accumulate(
        &self,
        folder: &str,
        parsed: &Rc<Parsed>,
        depth: usize,
        stack: &mut Vec<String>,
        outer: usize,
        rendering: &mut Rendering,
    ) -> Result<(), git2::Error> {
        self.steps.set(self.steps.get() + 1);
        let many = self.steps.get() > STEPS || rendering.images.len() > IMAGES;
        if depth > DEPTH || many || stack.iter().any(|it| it == folder) {
            rendering.broken.get_or_insert_with(|| Doubt {
                spot: parsed.spot_at(0),
                cause: "the kustomizations take in one another without an end, or too many"
                    .to_owned(),
                remedy: "correct `resources` there".to_owned(),
            });
            return Ok(());
        }
        if let Err(unreadable) = &parsed.tree {
            rendering.broken.get_or_insert_with(|| Doubt {
                spot: Spot {
                    file: parsed.path.to_string(),
                    line: unreadable.line,
                },
                cause: unreadable.cause.clone(),
                remedy: "correct the file: without it nothing of its folder is deployed".to_owned(),
            });
            return Ok(());
        }
        let Some(it) = Kustomization::read(parsed) else {
            return Ok(());
        };
        if let Some(line) = parsed.not_utf8 {
            rendering.broken.get_or_insert_with(|| Doubt {
                spot: Spot {
                    file: parsed.path.to_string(),
                    line,
                },
                cause: crate::parsed::NOT_UTF8.to_owned(),
                remedy: crate::parsed::SAVE_UTF8.to_owned(),
            });
            return Ok(());
        }
        stack.push(folder.to_owned());
        let resources = rendering.resources.len();
        let start = if it.is_component {
            outer
        } else {
            rendering.images.len()
        };
        for component in [false, true] {
            for taken in it.taken.iter().filter(|taken| taken.component == component) {
                let Some(path) = &taken.path else {
                    let outside = (taken.spot.clone(), format!("`{}`", taken.text));
                    rendering.outside.push(outside);
                    continue;
                };
                let below = self.kustomization(path)?;
                match below {
                    Some(below) => {
                        self.accumulate(path, &below, depth + 1, stack, start, rendering)?;
                    }
                    None if self.bytes(path)?.is_some() => self.resource(path, rendering)?,
                    None if parent(path) == folder => {}
                    None => {
                        let outside = (taken.spot.clone(), format!("`{}`", taken.text));
                        rendering.outside.push(outside);
                    }
                }
            }
        }
        for generator in &it.generators {
            let outside = (generator.spot.clone(), "a generator".to_owned());
            rendering.outside.push(outside);
        }
        self.transform(
            &it,
            start,
            if it.is_component { 0 } else { resources },
            rendering,
        )?;
        through(folder, (start, resources), rendering);
        stack.pop();
        Ok(())
    }

    fn transform(
        &self,
        it: &Kustomization,
        start: usize,
        resources: usize,
        rendering: &mut Rendering,
    ) -> Result<(), git2::Error> {
        for late in [false, true] {
            for entry in it.patches.iter().filter(|entry| entry.late == late) {
                if let Some(patch) = self.patch(it, entry)? {
                    let images = start..rendering.images.len();
                    let resources = resources..rendering.resources.len();
                    patch.apply(&images, &resources, rendering);
                }
            }
            let renames = !it.prefix.is_empty() || !it.suffix.is_empty();
            if renames && !late {
                for resource in &mut rendering.resources[resources..] {
                    if let Some(name) = resource.names.last() {
                        let name = format!("{}{name}{}", it.prefix, it.suffix);
                        resource.names.push(name);
                    }
                }
            }
        }
        rule::apply(&it.rules, start..rendering.images.len(), rendering);
        let images = start..rendering.images.len();
        for entry in &it.replacements {
            let file = replacement_file(&entry.text).and_then(|path| resolve(it.folder(), &path));
            let text = match file {
                Some(path) => self.read(&path)?.map(|it| it.text.clone()),
                None => Some(entry.text.clone()),
            };
            if let Some(text) = text {
                transformer::replacement(&text, &entry.spot, &images, rendering);
            }
        }
        for entry in &it.transformers {
            for text in self.transformer(it, &entry.text)? {
                transformer::apply(&text, &entry.spot, &images, rendering);
            }
        }
        Ok(())
    }

    /// The texts of what an entry of `transformers` names.
    fn transformer(&self, it: &Kustomization, text: &str) -> Result<Vec<String>, git2::Error> {
        if text.contains('\n') || text.contains('{') {
            return Ok(vec![text.to_owned()]);
        }
        let Some(path) = resolve(it.folder(), text) else {
            return Ok(Vec::new());
        };
        if let Some(file) = self.read(&path)? {
            return Ok(vec![file.text.clone()]);
        }
        let folder = self.folder(&path)?;
        let texts = folder
            .files
            .iter()
            .map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
        Ok(texts.collect())
    }

    fn patch(&self, it: &Kustomization, entry: &PatchEntry) -> Result<Option<Patch>, git2::Error> {
        let (parsed, inline) = match (&entry.inline, &entry.path) {
            (Some(text), _) => {
                let parsed = Parsed::read(&it.parsed.path, text.as_bytes());
                (Rc::new(parsed), true)
            }
            (None, Some(path)) => match self.read(path)? {
                Some(parsed) => (parsed, false),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        Ok(Some(Patch {
            parsed,
            entry: entry.spot.clone(),
            inline,
            selector: entry.selector.clone(),
        }))
    }

    /// What Applications and their parameter files do to what a folder renders.
    fn apps_of(
        &self,
        root: &str,
        folder: &Folder,
        rendering: &mut Rendering,
    ) -> Result<(), git2::Error> {
        let beside: Vec<Rc<Parsed>> = folder
            .files
            .iter()
            .map(|file| &file.path)
            .filter(|path| base_name(path).starts_with(".argocd-source"))
            .filter_map(|path| self.read(path).transpose())
            .collect::<Result<_, _>>()?;
        let overriding: Vec<App> = beside.iter().map(App::parameters).collect();
        let overridden = overriding.iter().any(|app| !app.rules.is_empty());
        let apps: Vec<&App> = self.apps.iter().filter(|app| app.is_for(root)).collect();
        self.chart(root, folder, &apps, &overriding, rendering)?;
        for app in apps.iter().copied().chain(&overriding) {
            let images = 0..rendering.images.len();
            let resources = 0..rendering.resources.len();
            for (component, spot) in &app.components {
                let path = resolve(root, component);
                let below = path.as_deref().map(|path| self.kustomization(path));
                if let (Some(path), Some(parsed)) = (path.as_deref(), below.transpose()?.flatten())
                {
                    let before = rendering.images.clone();
                    self.accumulate(path, &parsed, 1, &mut Vec::new(), 0, rendering)?;
                    for (image, old) in rendering.images.iter_mut().zip(&before) {
                        if image.reference != old.reference {
                            image.doubt = Some(app.doubt(spot.clone()));
                        }
                    }
                }
            }
            for (text, target, spot) in &app.patches {
                let patch = Patch {
                    parsed: Rc::new(Parsed::read(&app.parsed.path, text.as_bytes())),
                    entry: spot.clone(),
                    inline: true,
                    selector: Some(target.clone().unwrap_or_default())
                        .filter(|_| target.is_some() || text.trim_start().starts_with(['-', '['])),
                };
                patch.apply(&images, &resources, rendering);
            }
            let is_override = overriding.iter().any(|it| std::ptr::eq(it, app));
            if is_override || !overridden {
                let mut rules = app.rules.clone();
                if app.templated {
                    for rule in &mut rules {
                        let spot = rule.place.spot();
                        rule.place.doubt.get_or_insert(app.doubt(spot));
                    }
                }
                rule::apply(&rules, images, rendering);
            }
        }
        Ok(())
    }
}

/// The file that an entry of `replacements` names.
fn replacement_file(text: &str) -> Option<String> {
    let parsed = shipline_model::yaml::parse(text).ok()?;
    let path = parsed.documents.first()?.get("path").and_then(Node::text)?;
    Some(path.to_owned())
}

/// Says what came through a folder.
pub(crate) fn through(
    folder: &str,
    (images, resources): (usize, usize),
    rendering: &mut Rendering,
) {
    let through = Through {
        images: images..rendering.images.len(),
        resources: resources..rendering.resources.len(),
    };
    rendering
        .through
        .entry(folder.to_owned())
        .or_insert(through);
}
