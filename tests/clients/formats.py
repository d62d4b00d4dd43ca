"""Holds files of events against the official definitions: OCSF's own schema, the CloudEvents SDK, OpenTelemetry's protocol.

formats.py ocsf|cloudevents|otlp FILE: prints one JSON object, what was found valid and how often.
"""

import collections
import json
import sys

kind, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    lines = file.read().splitlines()
found = collections.Counter()

if kind == "ocsf":
    from jsonschema import Draft202012Validator
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

    validators = {}
    for line in lines:
        event = json.loads(line)
        version, profiles = event["metadata"]["version"], event["metadata"]["profiles"]
        key = (version, event["class_uid"], *profiles)
        if key not in validators:
            schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
            name = schema.lookup_class_name_from_uid(event["class_uid"])
            validators[key] = Draft202012Validator(schema.get_class_schema(name, profiles=profiles))
        for error in validators[key].iter_errors(event):
            sys.exit(f"{error.json_path}: {error.message}\n{line}")
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"], line
        found[f"{event['metadata']['event_code']}/{event['activity_name']}/{event['status']}"] += 1
elif kind == "otlp":
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    for line in lines:
        # Unknown members are errors.
        request = json_format.Parse(line, ExportLogsServiceRequest())
        for record in request.resource_logs[0].scope_logs[0].log_records:
            assert record.time_unix_nano > 10**18 and record.severity_text and record.body.string_value, line
            found[record.event_name] += 1
else:
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    for line in lines:
        event = JSONFormat().read(CloudEvent, line)
        assert event.get_specversion() == "1.0" and event.get_time() is not None, line
        assert event.get_id() == f"{event.get_source()}/{event.get_data()['seq']}", line
        found[event.get_type()] += 1

print(json.dumps({"valid": len(lines), "found": found}))
