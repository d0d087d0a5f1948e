//! A page read strictly, and what must hold of each.

use std::collections::BTreeSet;

/// An element's name and attributes.
pub(super) type Element = (String, Vec<(String, String)>);

pub(super) fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    element.1.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

/// Reads a page strictly: every element is closed, every value quoted.
pub(super) fn parse(page: &str) -> Vec<Element> {
    const VOID: [&str; 3] = ["meta", "link", "input"];
    let (mut elements, mut open) = (Vec::new(), Vec::<String>::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        let (tag, after) = rest[at + 1..].split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let (name, mut left) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while !left.trim().is_empty() {
            left = left.trim_start();
            let end = left.find([' ', '=']).unwrap_or(left.len());
            let key = left[..end].to_owned();
            left = &left[end..];
            let value = match left.strip_prefix("=\"") {
                Some(value) => {
                    let (value, after) = value.split_once('"').expect("a value ends");
                    left = after;
                    value.to_owned()
                }
                None => String::new(),
            };
            attributes.push((key, value));
        }
        if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        elements.push((name.to_owned(), attributes));
    }
    assert!(open.is_empty(), "left open: {open:?}");
    elements
}

/// What a page must be, whatever is on it.
pub(super) fn check(path: &str, page: &str) {
    let elements = parse(page);
    let count = |name: &str| elements.iter().filter(|(of, _)| of == name).count();
    for one in ["html", "title", "h1", "main", "header"] {
        assert_eq!(count(one), 1, "{path}: {one}");
    }
    assert!(count("nav") >= 1, "{path}");
    assert!(page.contains("<html lang=\"en\"") && page.contains("class=\"skip\" href=\"#content\""), "{path}");
    let ids: Vec<&str> = elements.iter().filter_map(|element| attribute(element, "id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{path}: {ids:?}");
    let labelled: BTreeSet<&str> = elements.iter().filter_map(|element| attribute(element, "for")).collect();
    assert!(labelled.iter().all(|id| ids.contains(id)), "{path}: {labelled:?}");
    for element in &elements {
        match element.0.as_str() {
            "input" | "select" | "textarea" if attribute(element, "type") != Some("hidden") => {
                let is_named = attribute(element, "id").is_some_and(|id| labelled.contains(id))
                    || attribute(element, "aria-label").is_some();
                assert!(is_named, "{path}: {element:?}");
            }
            "th" => assert!(attribute(element, "scope").is_some(), "{path}: {element:?}"),
            "svg" => assert!(
                attribute(element, "aria-hidden").is_some() || attribute(element, "aria-label").is_some(),
                "{path}: {element:?}"
            ),
            "script" => assert!(attribute(element, "src").is_some(), "{path}: a script in the page"),
            "img" | "style" | "iframe" | "object" => panic!("{path}: {element:?}"),
            _ => {}
        }
        for (name, value) in &element.1 {
            assert!(name != "style" && !name.starts_with("on"), "{path}: {element:?}");
            if ["href", "src", "action"].contains(&name.as_str()) {
                let is_ours = (value.starts_with('/') && !value.starts_with("//")) || value.starts_with('#');
                assert!(is_ours || value == "data:,", "{path}: {element:?}");
            }
        }
    }
    assert!(!page.contains('\u{202e}'), "{path}: turns the line around");
    assert!(!page.contains("<script>") && !page.contains("onerror=alert(2)>"), "{path}");
}
