//! All 229 cases of the SDK, both ways: a case that differs must be listed with its reason, and a listed one must still differ.

mod compare;

#[test]
fn y1_to_y31_every_case_of_the_sdk_agrees_or_is_listed() {
    let mut wrong = Vec::new();
    for case in compare::cases() {
        let name = case["name"].as_str().expect("named");
        match (compare::compare(&case), compare::exception(name)) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(difference), None) => wrong.push(format!("{name}: {difference}")),
            (Ok(()), Some(_)) => wrong.push(format!("{name}: is listed as an exception but agrees")),
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    let names: Vec<String> = compare::cases().iter().map(|case| case["name"].to_string()).collect();
    for (name, _) in compare::EXCEPTIONS {
        assert!(names.contains(&format!("{name:?}")), "no case is called {name}");
    }
}
