//! The guide to delivery services, as it stands there.

#![cfg(unix)]

mod common;

use common::{Town, transcript};

#[test]
fn the_guide_to_delivery_services_is_true() {
    let town = Town::new();
    let people = (town.friends(), town.person("carol"));
    let commands = transcript(town.path(), include_str!("../../../docs/delivery-service.md"));
    assert!(commands > 15);
    drop(people);
}
