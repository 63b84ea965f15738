//! The suite finds broken backends: each saboteur fails the cases that are meant to find it, and nothing else cries wolf.

use std::collections::BTreeSet;

use mls_keep_conformance::CASES;
use mls_keep_conformance::saboteurs::{false_alarms, saboteurs};

#[test]
fn nothing_fails_without_a_defect() {
    assert_eq!(false_alarms(), [""; 0]);
}

#[test]
fn every_saboteur_is_caught_by_the_cases_that_are_meant_to() {
    let missed: Vec<_> = saboteurs()
        .iter()
        .map(|saboteur| (saboteur.defect, saboteur.missed()))
        .filter(|(_, missed)| !missed.is_empty())
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn every_case_catches_a_saboteur() {
    let catching: BTreeSet<&str> = saboteurs().iter().flat_map(|saboteur| saboteur.caught_by).copied().collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(catching, all);
}
