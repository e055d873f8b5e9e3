"""FastAPI + ONNX Runtime: uvicorn starts two processes, each with a session of its own. MODEL names the file."""

import os

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from onnx_session import OnnxSession

session = OnnxSession(os.environ["MODEL"])
app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    if request.headers["content-type"] == "application/octet-stream":
        output = session.from_bytes(await request.body())
        return Response(output.tobytes(), media_type="application/octet-stream")
    return JSONResponse({"data": session.from_json(await request.json()).ravel().tolist()})
