//! Groups that must be entered anew, and whom to ask.

use mls_keep::{GroupMember, GroupToRejoin};
use serde_json::{Map, Value, json};

use crate::failure::Result;
use crate::output::{Output, note};
use crate::printed::{escape, hex, put_bytes};
use crate::session::Session;

/// So many members are named for a group. One of them is enough.
const NAMED: usize = 5;

/// `group waiting`
pub(super) async fn waiting(session: &mut Session) -> Result<()> {
    let plan = session.client.rejoin_plan().await?;
    if plan.is_empty() {
        session.output.line("no group waits to be entered anew")?;
    }
    print(session.output, &plan)?;
    session.output.json(|| to_json(&plan))
}

/// A line for each group, and what to do with them.
pub(super) fn print(output: Output, plan: &[GroupToRejoin]) -> Result<()> {
    for group in plan {
        output.line(format!("{}\tto be entered anew\t{}", label(group), whom(&group.members)))?;
    }
    if plan.iter().any(|group| !group.members.is_empty()) {
        note(
            "in these groups nothing is sent before: have a member remove and invite this client, with a new key package",
        );
    }
    if plan.iter().any(|group| group.members.is_empty()) {
        note(
            "a group without other members cannot be entered: create another one; its history stays until `group forget`",
        );
    }
    Ok(())
}

pub(super) fn to_json(plan: &[GroupToRejoin]) -> Value {
    let member = |member: &GroupMember| {
        let mut value = Map::new();
        put_bytes(&mut value, "identity", &member.identity);
        value.insert("leaf".into(), member.index.into());
        Value::from(value)
    };
    let group = |group: &GroupToRejoin| {
        json!({
            "id": hex(group.id.as_slice()),
            "name": group.name,
            "own_leaf": group.own_leaf,
            "ask": group.members.iter().map(member).collect::<Vec<_>>(),
        })
    };
    plan.iter().map(group).collect()
}

fn label(group: &GroupToRejoin) -> String {
    if group.name.is_empty() { hex(group.id.as_slice()) } else { escape(group.name.as_bytes()) }
}

fn whom(members: &[GroupMember]) -> String {
    let named: Vec<_> = members.iter().take(NAMED).map(|member| escape(&member.identity)).collect();
    match members.len().saturating_sub(NAMED) {
        _ if named.is_empty() => "nobody is left to ask".to_owned(),
        0 => format!("ask {}", named.join(", ")),
        more => format!("ask {}, or one of {more} others", named.join(", ")),
    }
}
