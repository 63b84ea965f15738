//! The process whose power is cut, and the one that opens what that leaves: `power-child work|work-until-failure|go-on|judge
//! SUBJECT DIRECTORY`.

use std::path::Path;

use integration_tests::power_loss::workload;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, subject, directory] = arguments.as_slice() else {
        return Err("power-child work|work-until-failure|go-on|judge SUBJECT DIRECTORY".into());
    };
    let directory = Path::new(directory);
    match what.as_str() {
        "work" => workload::work(subject, directory)?,
        // The parent knows which fault it has injected.
        "work-until-failure" => drop(workload::work(subject, directory)),
        "go-on" => workload::go_on(subject, directory),
        "judge" => println!("{}", workload::judge(subject, directory)),
        _ => return Err("what is to be done?".into()),
    }
    Ok(())
}
