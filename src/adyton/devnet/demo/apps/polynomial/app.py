"""The demonstration's confidential application: three parties' secrets meet here and nowhere else.

The developer's secret is the coefficients ``a,b,c,d`` of a cubic polynomial, the requester's secret is the point ``x``,
the dataset is a table of whole numbers. The result is ``a*x^3 + b*x^2 + c*x + d`` plus the table's sum; it tells nobody
the numbers that it was made from.
"""

import csv
import json
import os
import pathlib


def main() -> None:
    """Read the secrets and the dataset, write the result where the protocol expects it."""
    coefficients = [int(part) for part in os.environ["IEXEC_APP_DEVELOPER_SECRET"].split(",")]
    point = int(os.environ["IEXEC_REQUESTER_SECRET_1"])
    value = 0
    for coefficient in coefficients:
        value = value * point + coefficient

    dataset = pathlib.Path(os.environ["IEXEC_IN"]) / os.environ["IEXEC_DATASET_FILENAME"]
    figure = 0
    if dataset.is_file():
        with dataset.open(newline="", encoding="utf-8") as rows:
            figure = sum(int(row["amount"]) for row in csv.DictReader(rows))

    out = pathlib.Path(os.environ["IEXEC_OUT"])
    (out / "result.json").write_text(json.dumps({"value": value + figure}), encoding="utf-8")
    (out / "computed.json").write_text(
        json.dumps({"deterministic-output-path": str(out / "result.json")}), encoding="utf-8"
    )
    print("polynomial evaluated, dataset figure added")


main()
