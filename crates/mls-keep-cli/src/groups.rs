//! [`Groups`]: a client's groups, by what they are called.

use mls_keep::ErrorKind;
use mls_keep::openmls::group::GroupId;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::printed::{escape, hex, is_meant};

/// The groups of a client by their names and ids.
pub(crate) struct Groups(Vec<(GroupId, String)>);

impl Groups {
    pub(crate) fn new(groups: Vec<(GroupId, String)>) -> Self {
        Self(groups)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(GroupId, String)> {
        self.0.iter()
    }

    /// The group that is meant: by its hex id, or by its name if no other group has it.
    ///
    /// Names come from others, so an id wins over a name, and a name that two groups have means neither.
    pub(crate) fn find(&self, typed: &str) -> Result<GroupId> {
        if let Some((id, _)) = self.0.iter().find(|(id, _)| hex(id.as_slice()).eq_ignore_ascii_case(typed)) {
            return Ok(id.clone());
        }
        let is_named = |name: &str| !name.is_empty() && is_meant(name.as_bytes(), typed);
        let named: Vec<_> = self.0.iter().filter(|(_, name)| is_named(name)).collect();
        match named.as_slice() {
            [(id, _)] => Ok(id.clone()),
            [] => Err(Failure::new(
                ErrorKind::NotFound,
                format!("the client has no group `{typed}`"),
                "`mls-keep group list` shows the groups that it has.",
            )),
            several => {
                let ids: Vec<_> = several.iter().map(|(id, _)| hex(id.as_slice())).collect();
                Err(Failure::new(
                    ErrorKind::Invalid,
                    format!("{} groups have the name `{typed}`", several.len()),
                    format!("Name the one that you mean by its id: {}", ids.join(", ")),
                ))
            }
        }
    }

    /// What a group is called in print: its name as it can be typed, or its hex id if it has no name of its own.
    pub(crate) fn label(&self, group: &GroupId) -> String {
        let known = self.0.iter().find(|(id, _)| id == group).map(|(_, name)| escape(name.as_bytes()));
        match known.filter(|name| !name.is_empty()) {
            Some(name) if self.find(&name).is_ok_and(|found| &found == group) => name,
            _ => hex(group.as_slice()),
        }
    }

    /// A group in JSON.
    pub(crate) fn to_json(&self, group: &GroupId) -> Value {
        let name = self.0.iter().find(|(id, _)| id == group).map_or("", |(_, name)| name);
        serde_json::json!({ "id": hex(group.as_slice()), "name": name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_group_only_if_it_is_the_only_one() {
        let id = |byte| GroupId::from_slice(&[byte; 4]);
        let named = |byte, name: &str| (id(byte), name.to_owned());
        // The last one was named by somebody who wants to be taken for the first.
        let groups = Groups::new(vec![
            named(1, "tea"),
            named(2, "milk"),
            named(3, "milk"),
            named(4, ""),
            named(5, "01010101"),
            named(6, "a\nb"),
        ]);
        assert_eq!(groups.find("tea").unwrap(), id(1));
        assert_eq!(groups.find("01010101").unwrap(), id(1));
        assert!(groups.find("milk").is_err());
        assert_eq!(groups.find("03030303").unwrap(), id(3));
        assert!(groups.find("").is_err());
        assert!(groups.find("coffee").is_err());
        assert_eq!(groups.find("a\\nb").unwrap(), id(6));
        for byte in 1..=6 {
            assert_eq!(groups.find(&groups.label(&id(byte))).unwrap(), id(byte));
        }
        assert_eq!(groups.label(&id(1)), "tea");
        assert_eq!(groups.label(&id(2)), "02020202");
        assert_eq!(groups.label(&id(4)), "04040404");
        assert_eq!(groups.label(&id(5)), "05050505");
    }
}
