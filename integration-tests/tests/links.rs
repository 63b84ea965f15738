//! Every link of every page leads somewhere.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What is looked for pages in.
const PLACES: [&str; 4] = [".", "docs", "docs/decisions", "crates"];

struct Page {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (mut links, mut anchors, mut heading) = (Vec::new(), BTreeSet::new(), None);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    links.push(dest_url.to_string())
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(|text| anchor(&text))),
                Event::Text(text) | Event::Code(text) => heading.iter_mut().for_each(|heading| heading.push_str(&text)),
                _ => {}
            }
        }
        Self { links, anchors }
    }
}

/// The anchor that GitHub and mdBook give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn pages_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn pages() -> BTreeMap<PathBuf, Page> {
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    let mut paths = Vec::new();
    for place in PLACES.map(|place| root.join(place)) {
        paths.extend(pages_in(&place));
        if place.ends_with("crates") {
            fs::read_dir(&place).unwrap().for_each(|entry| paths.extend(pages_in(&entry.unwrap().path())));
        }
    }
    paths
        .into_iter()
        .map(|path| fs::canonicalize(path).unwrap())
        .map(|path| (path.clone(), Page::read(&path)))
        .collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 30, "only {} pages were found", pages.len());
    let mut dead = Vec::new();
    for (path, page) in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target =
                if file.is_empty() { Ok(path.clone()) } else { fs::canonicalize(path.parent().unwrap().join(file)) };
            let leads = target.is_ok_and(|target| {
                anchor.is_none_or(|anchor| pages.get(&target).is_none_or(|page| page.anchors.contains(anchor)))
            });
            if !leads {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// The book has every page.
#[test]
fn the_summary_names_every_page() {
    let docs = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")).unwrap();
    let summary = docs.join("SUMMARY.md");
    let named: BTreeSet<_> = Page::read(&summary).links.into_iter().map(|link| docs.join(link)).collect();
    let there = pages_in(&docs).into_iter().chain(pages_in(&docs.join("decisions")));
    let missing: Vec<_> = there.filter(|page| *page != summary && !named.contains(page)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
