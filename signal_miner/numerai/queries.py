"""GraphQL of the questions about an account, as ``numerapi`` 3.1 asks them (``base_api.py``)."""

from __future__ import annotations

ROUND = "query($tournament: Int!) { rounds(tournament: $tournament number: 0) { number openTime closeStakingTime } }"
PAYOUT = """query($tournament: Int!) { rounds(tournament: $tournament number: 0) {
    number roundScoreConfigs { displayName isPayout defaultMultiplier clipThreshold } } }"""
MODELS = "query { account { models { id name tournament } } }"
SUBMISSIONS = "query($modelId: String) { submissions(modelId: $modelId) { id filename insertedAt } }"
SUBMISSION_LINK = """query($filename: String! $tournament: Int! $modelId: String) {
    submission_upload_auth(filename: $filename tournament: $tournament modelId: $modelId) { filename url } }"""
CREATE_SUBMISSION = """mutation($filename: String! $tournament: Int! $modelId: String) {
    create_submission(filename: $filename tournament: $tournament modelId: $modelId source: "numerapi") { id } }"""
DOWNLOAD_LINK = "query($id: String) { submissionDownloadAuth(id: $id) { filename url } }"
PICKLE_LINK = """query($filename: String! $modelId: String) {
    computePickleUploadAuth(filename: $filename modelId: $modelId) { filename url } }"""
CREATE_PICKLE = """mutation($filename: String! $tournament: Int! $modelId: String
                             $dataVersionId: String $dockerImageId: String) {
    createComputePickleUpload(filename: $filename tournament: $tournament modelId: $modelId
                              dataVersionId: $dataVersionId dockerImageId: $dockerImageId) { id } }"""
PICKLES = """query($modelId: ID $unassigned: Boolean!) { computePickles(modelId: $modelId unassigned: $unassigned) {
    id filename assignedModelSlots dockerImageName dataVersion validationStatus insertedAt } }"""
DATA_VERSIONS = "query { computePickleDataVersions { id name } }"
IMAGES = "query { computePickleDockerImages { id name } }"
ASSIGN = """mutation($modelId: String $pickleId: ID) {
    assignPickleToModel(modelId: $modelId pickleId: $pickleId) }"""
LOGS = "query($pickleId: ID!) { diagnosticsTriggerLogs(pickleId: $pickleId) { timestamp message } }"
# numerapi calls v2RoundModelPerformances deprecated for scores, but nothing else tells what a model has at stake.
RECENT_ROUNDS = """query($tournament: Int $limit: Int) { rounds(tournament: $tournament limit: $limit) {
    number openTime closeStakingTime resolveTime payoutFactor
    roundScoreConfigs { displayName isPayout defaultMultiplier clipThreshold } } }"""
ROUND_SCORES = """query($modelId: ID! $displayName: String $tournament: Int $distinctOnRound: Boolean) {
    submissionScores(modelId: $modelId displayName: $displayName tournament: $tournament
                     distinctOnRound: $distinctOnRound) {
        roundNumber roundResolveTime roundCloseStakingTime value percentile displayName day resolved } }"""
ROUND_STAKES = """query($modelId: String! $tournament: Int!) {
    v2RoundModelPerformances(modelId: $modelId tournament: $tournament) {
        atRisk roundPayoutFactor roundNumber roundResolved submissionScores { payoutPending payoutSettled } } }"""
