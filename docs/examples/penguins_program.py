"""A program as a model writes it: `db`, `sql` and `inputs` are in scope of the sandbox, nothing is imported.

It finds the table `penguins` in its session, keeps the birds that were measured in a table of its own, asks a
few questions, saves what the next turn will need, and answers with a few rows.
"""

birds = db.query("SELECT * FROM penguins WHERE body_mass_g IS NOT NULL AND sex IS NOT NULL")
db.create_table(
    "measured",
    {
        "species": "TEXT",
        "island": "TEXT",
        "sex": "TEXT",
        "mass_g": "INTEGER",
        "flipper_mm": "INTEGER",
        "year": "INTEGER",
    },
)
db.exec("DELETE FROM measured")  # so that a second run starts afresh
inserted = db.batch_insert(
    "measured",
    [
        {
            "species": bird["species"],
            "island": bird["island"],
            "sex": bird["sex"],
            "mass_g": bird["body_mass_g"],
            "flipper_mm": bird["flipper_length_mm"],
            "year": bird["year"],
        }
        for bird in birds
    ],
)

counts = db.query(sql.count_by("measured", "species"))
masses = db.query(sql.group_stats("measured", "species", "mass_g"))
medians = {
    row["species"]: row["p50"] for row in db.query(sql.percentile("measured", "mass_g", 50, by="species"))
}
by_sex = {
    row["species"]: row for row in db.query(sql.pivot("measured", "species", "sex", ["female", "male"]))
}
heaviest = {row["species"]: row for row in db.query(sql.top_n("measured", "mass_g", 1, by="species"))}
line = db.query(sql.correlation("measured", "flipper_mm", "mass_g"))[0]

answer = [
    {
        "species": row["species"],
        "birds": row["count"],
        "female": by_sex[row["species"]]["female"],
        "male": by_sex[row["species"]]["male"],
        "mean_g": round(row["mean"]),
        "median_g": medians[row["species"]],
        "heaviest_g": heaviest[row["species"]]["mass_g"],
        "on": heaviest[row["species"]]["island"],
    }
    for row in masses
]
db.save_state("penguins_answer", answer)

print(
    f"{inserted} of {inputs['rows']} penguins were measured in full; {counts[0]['species']} is seen most often."
)
print(f"Each mm of flipper goes with {line['slope']:.1f} g more (correlation {line['correlation']:.2f}).")
answer
