//! The folders that are parts of a data set, by their names and their content.

use super::*;

#[test]
fn the_parts_have_every_usual_name_in_any_case() {
    for (train, other) in [
        ("train", "val"),
        ("train", "valid"),
        ("train", "validation"),
        ("train", "dev"),
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("Training", "Validation"),
    ] {
        let dir = TempDir::new().unwrap();
        for name in ["a", "b"] {
            class(&dir.path().join(train), name, 8, 0);
            class(&dir.path().join(other), name, 4, 100);
        }
        let read = folder(dir.path());
        assert_eq!((read.train.n, read.test.n, read.report.is_none()), (16, 8, true), "{train} {other}");
        assert_eq!(read.class_names, ["a", "b"]);
        assert_eq!(greens(&read.test)[..4], [100, 101, 102, 103]);
        assert_eq!(
            read.account.to_string(),
            format!(
                "16 + 8 images, 2 classes, 3 channels, 8x8, from {train}/ and {other}/ ({other}/ both to choose by and to \
                 report)"
            )
        );
        assert_eq!(reported(dir.path()).images, read.test);
    }
}

#[test]
fn the_names_of_parts_may_have_more_words() {
    for (train, other) in [
        ("train_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train2017", "val2017"),
        ("Training Set", "Test Set"),
        ("0_train", "1_val"),
        ("TrainImages", "TestImages"),
        ("trainset", "testset"),
        ("traindata", "val"),
        ("train", "test_set"),
    ] {
        let dir = TempDir::new().unwrap();
        for name in ["a", "b"] {
            class(&dir.path().join(train), name, 8, 0);
            class(&dir.path().join(other), name, 4, 100);
        }
        let read = folder(dir.path());
        assert_eq!((read.train.n, read.test.n, read.class_names.join(" ")), (16, 8, "a b".into()), "{train}");
    }
    // Without a training part, or with images of their own, such folders are classes.
    for names in [["test_tube", "val_room"], ["train_blue", "test_red"]] {
        let dir = TempDir::new().unwrap();
        names.iter().for_each(|name| class(dir.path(), name, 8, 0));
        assert_eq!(folder(dir.path()).class_names.len(), 2, "{names:?}");
    }
    // Three parts with names of any kind, loose images, and test images without classes.
    let dir = TempDir::new().unwrap();
    for (part, n) in [("train", 8), ("val_set", 4), ("Test Set", 3)] {
        ["a", "b"].iter().for_each(|name| class(&dir.path().join(part), name, n, 0));
    }
    plain(dir.path().join("train/loose.png"), [0; 3]);
    let read = folder(dir.path());
    assert_eq!((read.train.n, read.test.n, read.report.unwrap().n), (16, 8, 6));
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("train_set"), name, 10, 0));
    class(dir.path(), "test_set", 7, 0);
    let read = folder(dir.path());
    assert_eq!((read.train.n, read.test.n, read.class_names.join(" ")), (16, 4, "a b".into()));
    assert_eq!(read.account.passed_over(), "test_set/ (no class folders)");
    // Archives that were unpacked into folders of their own names.
    let dir = TempDir::new().unwrap();
    for (part, n) in [("seg_train", 8), ("seg_test", 3)] {
        ["a", "b"].iter().for_each(|name| class(&dir.path().join(part).join(part), name, n, 0));
    }
    class(&dir.path().join("seg_pred"), "seg_pred", 5, 0);
    let read = folder(dir.path());
    assert_eq!((read.train.n, read.test.n, read.class_names.join(" ")), (16, 6, "a b".into()));
    assert_eq!(read.account.passed_over(), "seg_pred/ beside seg_train/");
    // Parts with other classes are an error, not classes.
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("train_set"), name, 4, 0));
    ["1", "2"].iter().for_each(|name| class(&dir.path().join("test_set"), name, 4, 0));
    assert!(refused(dir.path()).contains("the same classes in all parts"));
    // Parts inside of the classes would be mixed.
    for (class_dir, part) in [("bottle", "test"), ("cable", "val")] {
        let dir = TempDir::new().unwrap();
        ["bottle", "cable"].iter().for_each(|name| class(dir.path(), name, 4, 0));
        for name in ["train", part] {
            class(&dir.path().join(class_dir).join(name), "good", 4, 0);
        }
        let error = refused(dir.path());
        let found = format!("found train/ and {part}/");
        assert!(error.contains(&found) && error.contains("move the parts above the classes"), "{error}");
    }
    // The images of a competition may be in a folder of their own.
    for inner in ["unknown", "test"] {
        let dir = TempDir::new().unwrap();
        for (part, n) in [("train", 8), ("val", 4)] {
            ["a", "b"].iter().for_each(|name| class(&dir.path().join(part), name, n, 0));
        }
        class(&dir.path().join("test"), inner, 3, 0);
        let read = folder(dir.path());
        assert_eq!((read.train.n, read.test.n, read.report.is_none()), (16, 8, true));
        assert_eq!(read.account.passed_over(), "test/ (no class folders)");
    }
    // What may be parts or classes is not guessed.
    for names in [["train", "bus"], ["train1", "train2"]] {
        let dir = TempDir::new().unwrap();
        for name in names.iter().chain(names.contains(&"train1").then_some(&"test")) {
            ["red", "blue"].iter().for_each(|inner| class(&dir.path().join(name), inner, 4, 0));
        }
        let error = refused(dir.path());
        let expected =
            if names[1] == "bus" { "train/ alone or beside val/" } else { "one folder of the part train" };
        assert!(error.contains(expected) && error.contains("try:"), "{error}");
    }
    // Only the part that is reported may be there.
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("test_set"), name, 4, 100));
    assert_eq!(reported(dir.path()).images.n, 8);
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("test"), name, 4, 100));
    assert_eq!(reported(dir.path()).images.n, 8);
    let spec = format!("folder:{}", dir.path().display());
    assert!(load(&spec, &options()).unwrap_err().to_string().contains("a folder train/ beside test/"));
}

#[test]
fn with_three_parts_one_is_chosen_by_and_another_reported() {
    let dir = TempDir::new().unwrap();
    for name in ["a", "b"] {
        class(&dir.path().join("Training"), name, 12, 0);
        class(&dir.path().join("dev"), name, 4, 100);
        class(&dir.path().join("Test"), name, 3, 200);
    }
    let read = folder(dir.path());
    assert_eq!((read.train.n, read.test.n, read.reported().n), (24, 8, 6));
    assert_eq!((greens(&read.test)[0], greens(read.reported())[0]), (100, 200));
    assert_eq!(
        read.account.to_string(),
        "24 + 8 + 6 images, 2 classes, 3 channels, 8x8, from Training/, dev/ (to choose by) and Test/ (for eval)"
    );
    let roles: Vec<_> =
        read.account.parts.iter().map(|part| (part.role, part.place.as_str(), part.n)).collect();
    let want = [(Role::Train, "Training/", 24), (Role::HeldOut, "dev/", 8), (Role::Report, "Test/", 6)];
    assert_eq!(roles, want);
    let identity = &read.identity;
    assert_eq!((identity.n_train, identity.n_test, identity.n_report), (24, 8, 6));
    // A change of one pixel in the reported part changes the identity.
    plain(dir.path().join("Test/b/000.png"), [1, 1, 1]);
    let other = folder(dir.path()).identity;
    assert_eq!(identity.difference(&other).unwrap().0, "sha256 of pixels and labels");

    let part = reported(dir.path());
    assert_eq!((part.images.n, part.class_names.len()), (6, 2));
    assert_eq!(part.account.to_string(), "6 images, 2 classes, 3 channels, 8x8, from Test/");
    let json = serde_json::to_value(&read.account).unwrap();
    assert_eq!(json["parts"][2]["role"], "report");
    assert!(json.get("passed_over").is_none());
    assert_eq!(serde_json::from_value::<Account>(json).unwrap(), read.account);
}
